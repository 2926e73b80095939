"""Rules: pure functions over frozen values. Never a clock, randomness, SQL, JSON or a topic."""
