"""The rules: pure functions over frozen values, without clock, randomness, SQL, JSON or topics."""
