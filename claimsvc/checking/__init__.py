"""Checks of the live system from outside, as an MQTT client: availability and isolation between clients."""
