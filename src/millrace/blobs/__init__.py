"""Big bytes: put, get, range, list, delete and atomic publication; a local folder or an object store."""
