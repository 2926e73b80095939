"""The session with the broker: connect, subscribe, receive batches, publish answers, acknowledge.

The only importer of aiomqtt and paho, private parts included, so that the client library can be replaced
without touching another room. Knows topics as strings it was given and payloads as bytes.
"""

from claimsvc.broker.client import ConnectOptions
from claimsvc.broker.session import Report, Session, SessionOptions

__all__ = ["ConnectOptions", "Report", "Session", "SessionOptions"]
