"""The dialects: the topics, payloads and status words of existing systems, and those of claimsvc."""
