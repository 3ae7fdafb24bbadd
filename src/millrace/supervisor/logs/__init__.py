"""What processes print: joined, redacted, judged, kept and written. Stages are plain objects; `book` is the shell."""
