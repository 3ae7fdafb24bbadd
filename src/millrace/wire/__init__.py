"""The versioned shapes of requests, replies and stream events between master, worker, client and browser."""
