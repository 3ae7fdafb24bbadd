"""Media as values: what a file is (probe), what is wanted (profile), what will be made (plan), whether it was (check)."""
