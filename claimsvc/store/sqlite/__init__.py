"""The store in one SQLite file: its schema, its statements, and copies and counts of the file."""
