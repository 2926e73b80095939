"""The three packets there are many of, as bytes: PUBLISH in both directions, PUBACK (MQTT 5, 2 and 3.3, 3.4).

Pure functions on what one read brought and for what one write takes. Connecting, subscribing, keeping alive and
everything else that happens rarely is the client library's. Reading is lenient: brokers pass on characters that
the library takes for a malformed packet, and such a message would come again after each reconnect, for ever.
"""

from __future__ import annotations

import struct

from claimsvc.dialects.message import Inbound, Outbound

PUBLISH, PUBACK = 0x30, 0x40
PACKET_HEAD = 32
"""At most what a PUBLISH takes beside topic, correlation and payload."""
_TYPE = 0xF0
_FAILURE = 0x80
_STAMP = b"received-at"
_LONGEST_STAMP = 15
_MOST_LENGTH_BYTES = 4

# Properties of a PUBLISH (MQTT 5, 2.2.2.2): the ones wanted, and how long the others are.
_RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER_PROPERTY = 0x08, 0x09, 0x0B, 0x26
_FIXED_LENGTHS = {0x01: 1, 0x02: 4, 0x23: 2}

_short = struct.Struct("!H").unpack_from
_puback = struct.Struct("!BBH").pack


class ProtocolError(Exception):
    """The bytes are no MQTT."""


def split(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take the whole packets off the front of `buffer`; returns each one's first byte and what follows its length.

    Raises ProtocolError for a length that cannot be.
    """
    packets: list[tuple[int, bytes]] = []
    start, end = 0, len(buffer)
    with memoryview(buffer) as view:
        while start + 1 < end:
            length, at = view[start + 1], start + 2
            if length & 0x80:
                try:
                    length, at = _varint(view, start + 1)
                except IndexError:  # the length itself has not arrived whole
                    break
            if at + length > end:
                break
            packets.append((view[start], bytes(view[at : at + length])))
            start = at + length
    del buffer[:start]
    return packets


def read_publish(header: int, packet: bytes, connection: int, arrived: float) -> Inbound:
    """Return the message of a PUBLISH. A text that cannot be read is passed over; IndexError for no PUBLISH."""
    qos = header >> 1 & 3
    at = 2 + (packet[0] << 8 | packet[1])
    topic = packet[2:at].decode(errors="replace")
    packet_id = 0
    if qos:
        packet_id = packet[at] << 8 | packet[at + 1]
        at += 2
    response_topic = correlation = received_at_ms = None
    if packet[at]:
        length, at = _varint(packet, at)
        found = _properties(packet, at, at + length)
        at += length
        response_topic = _text(found.get(_RESPONSE_TOPIC))
        correlation = found.get(_CORRELATION)
        received_at_ms = _stamp(found.get(_USER_PROPERTY))
    else:
        at += 1
    return Inbound(
        topic,
        packet[at:],
        connection,
        packet_id,
        qos,
        arrived,
        bool(header & 8),
        response_topic,
        correlation,
        received_at_ms,
    )


def write_publish(outbound: Outbound, packet_id: int) -> bytes:
    """Return the PUBLISH of a message; `packet_id` counts at QoS 1 only."""
    topic = outbound.topic.encode()
    head = len(topic).to_bytes(2) + topic
    if outbound.qos:
        head += packet_id.to_bytes(2)
    if outbound.correlation is None:
        head += b"\0"
    else:
        data = outbound.correlation
        properties = bytes((_CORRELATION,)) + len(data).to_bytes(2) + data
        head += _length(len(properties)) + properties
    first = PUBLISH | outbound.qos << 1 | outbound.retain
    return bytes((first,)) + _length(len(head) + len(outbound.payload)) + head + outbound.payload


def write_puback(packet_id: int) -> bytes:
    """Return the acknowledgement of a message."""
    return _puback(PUBACK, 2, packet_id)


def kind(header: int) -> int:
    """Return a packet's type, the upper half of its first byte."""
    return header & _TYPE


def is_refusal(packet: bytes) -> bool:
    """Return whether a PUBACK says that the broker did not take the message."""
    return len(packet) > 2 and packet[2] >= _FAILURE  # noqa: PLR2004 - behind the packet id


def _length(value: int) -> bytes:
    if value < 0x80:  # noqa: PLR2004 - one byte of seven bits
        return bytes((value,))
    parts = bytearray()
    while value:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
    return bytes(parts)


def _properties(packet: bytes, at: int, end: int) -> dict[int, bytes]:
    """Return the texts among a PUBLISH's properties; of the user properties only the last stamp.

    The broker's plugin removes what others wrote there and adds its own last.
    """
    found: dict[int, bytes] = {}
    while at < end:
        name, at = packet[at], at + 1
        if name == _SUBSCRIPTION:
            _, at = _varint(packet, at)
        elif name in _FIXED_LENGTHS:
            at += _FIXED_LENGTHS[name]
        elif name == _USER_PROPERTY:
            label, at = _counted(packet, at)
            value, at = _counted(packet, at)
            if label == _STAMP:
                found[name] = value
        else:
            found[name], at = _counted(packet, at)
    return found


def _counted(packet: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _short(packet, at)
    return packet[at + 2 : at + 2 + length], at + 2 + length


def _varint(packet: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    for count in range(_MOST_LENGTH_BYTES):
        byte = packet[at + count]
        value |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return value, at + count + 1
    raise ProtocolError("a length has more than four bytes")


def _text(raw: bytes | None) -> str | None:
    try:
        return raw.decode() if raw is not None else None
    except UnicodeDecodeError:
        return None


def _stamp(raw: bytes | None) -> int | None:
    """Return when the broker's plugin saw the message, epoch milliseconds."""
    if not raw or not raw.isdigit() or len(raw) > _LONGEST_STAMP:
        return None
    return int(raw)
