"""claimsvc: device claiming and provisioning over MQTT, attached to a Mosquitto broker."""

__version__ = "0.1.0"
