"""Writes what the documents say of the code: `scripts/docs`. The product does not know of it."""
