"""The store in one SQLite file: its schema, its statements, and the copies and counts taken of the file."""
