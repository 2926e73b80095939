"""Rows on disk: the contract of every store, the mapping of rows to tables, and the stores."""
