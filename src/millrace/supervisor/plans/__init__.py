"""What is known of a plan before anything starts: its keys, their schema, overrides, advice, and where it came from."""
