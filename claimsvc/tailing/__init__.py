"""Read the service's structured log and audit events, and show them in human-readable form."""
