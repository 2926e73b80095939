"""Broker files as they are shipped; in a checkout these are links to the files operators read."""
