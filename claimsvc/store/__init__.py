"""Rows on disk: SQLite, its schema, and the named statements that read and write a batch. Never a rule."""
