"""Writes the generated parts of the documents: `scripts/docs`. The product does not import it."""
