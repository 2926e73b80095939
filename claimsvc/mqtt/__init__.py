"""The MQTT side: session, packets, lanes, acknowledgement. The only importer of a client library."""
