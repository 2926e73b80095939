"""The service between the protocols and the store: executes batches of calls. Knows neither a topic nor a byte."""
