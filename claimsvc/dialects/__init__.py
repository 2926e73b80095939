"""How existing systems speak: their topics, payloads and status words, each in a file of its own."""
