"""Rows on disk: what every store promises (`contract`), how rows are read and written (`mapping`), and the stores."""
