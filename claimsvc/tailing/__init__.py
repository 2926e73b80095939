"""Reading the service's structured log and audit events: lines in, entries found, shown for people."""
