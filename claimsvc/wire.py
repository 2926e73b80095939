"""What crosses between the broker and the dialects: bytes with their addresses, and nothing else."""

from __future__ import annotations

from claimsvc.immutable import immutable


@immutable
class Receipt:
    """What an acknowledgement needs: it is worth something on the connection that delivered only."""

    connection: int
    packet_id: int
    qos: int


@immutable
class Inbound:
    """One message from the broker. `received_at_ms` is the broker plugin's stamp, epoch milliseconds."""

    topic: str
    payload: bytes
    receipt: Receipt
    arrived: float
    """Seconds on the monotonic clock when the message reached this process."""
    redelivered: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    received_at_ms: int | None = None


@immutable
class Outbound:
    """One message to the broker. Answers travel at QoS 1 and are never retained (design: the wire)."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    correlation: bytes | None = None
