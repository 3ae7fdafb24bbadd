"""What people and programs ask a running supervisor, and tell it to do."""
