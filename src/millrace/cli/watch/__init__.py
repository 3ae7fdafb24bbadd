"""`millrace watch`: submit every film that comes into a folder."""
