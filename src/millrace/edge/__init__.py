"""What every HTTP server here shares: keys, limits, problem replies."""
