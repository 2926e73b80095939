"""Where issued logins go, so that the broker admits them."""
