-- Claims walk `tasks_lanes` now.

DROP INDEX tasks_queued;
