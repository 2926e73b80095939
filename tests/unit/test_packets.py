"""PUBLISH and PUBACK as bytes, held against what the client library makes and reads of the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from claimsvc.dialects.message import Inbound, Outbound
from claimsvc.mqtt import packets

TOPICS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
MESSAGES = st.builds(
    Outbound,
    topic=TOPICS,
    payload=st.binary(max_size=300),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    correlation=st.none() | st.binary(max_size=200),
)


def publish(topic: bytes, payload: bytes, properties: bytes, *, header: int = 0x32, packet_id: int = 7) -> bytes:
    """Return the body of a PUBLISH, with the library's own property encoding."""
    identifier = packet_id.to_bytes(2) if header & 6 else b""
    return len(topic).to_bytes(2) + topic + identifier + properties + payload


def properties(**stated: Any) -> bytes:
    """Return properties as the client library encodes them."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in stated.items():
        setattr(made, name, value)
    return bytes(made.pack())  # type: ignore[no-untyped-call]


@given(st.lists(MESSAGES, max_size=8), st.integers(1, 50))
def test_what_is_written_is_read_again(messages: list[Outbound], piece: int) -> None:
    """Whatever the pieces it comes in: the same messages, in order, none twice."""
    stream = b"".join(packets.write_publish(each, number + 1) for number, each in enumerate(messages))
    buffer = bytearray()
    read: list[Inbound] = []
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        read += [packets.read_publish(header, packet, 3, 1.5) for header, packet in packets.split(buffer)]
    assert not buffer
    assert read == [
        Inbound(
            each.topic,
            each.payload,
            3,
            number + 1 if each.qos else 0,
            each.qos,
            1.5,
            correlation=each.correlation,
        )
        for number, each in enumerate(messages)
    ]


WANTED = st.fixed_dictionaries(
    {},
    optional={
        "PayloadFormatIndicator": st.integers(0, 1),
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "ContentType": TOPICS,
        "ResponseTopic": TOPICS,
        "CorrelationData": st.binary(max_size=20),
        "UserProperty": st.lists(st.tuples(st.text("abr-", max_size=8), st.text("xyz", max_size=8)), min_size=1),
    },
)


@given(topic=TOPICS, payload=st.binary(max_size=100), stated=WANTED, stamp=st.none() | st.integers(0, 10**14))
def test_properties_are_read_as_the_library_writes_them(
    topic: str, payload: bytes, stated: dict[str, Any], stamp: int | None
) -> None:
    """The wanted ones are found among the others, in whatever order the library puts them."""
    if stamp is not None:
        stated = {**stated, "UserProperty": [*stated.get("UserProperty", []), ("received-at", str(stamp))]}
    read = packets.read_publish(0x3A, publish(topic.encode(), payload, properties(**stated)), 1, 2.0)
    assert (read.topic, read.payload, read.redelivered) == (topic, payload, True)
    assert read.response_topic == stated.get("ResponseTopic")
    assert read.correlation == stated.get("CorrelationData")
    assert read.received_at_ms == stamp


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        pytest.param(["5", "7"], 7, id="the last stamp counts"),
        pytest.param(["12a"], None, id="letters are no time"),
        pytest.param(["-1"], None, id="nor is a sign"),
        pytest.param(["1" * 16], None, id="nor more digits than a time has"),
        pytest.param([""], None, id="nor nothing"),
        pytest.param(["٣"], None, id="nor digits of other scripts"),
    ],
)
def test_stamps(stamps: list[str], expected: int | None) -> None:
    """Only digits, and the last one: the broker's plugin adds its own behind all others."""
    stated = properties(UserProperty=[("received-at", each) for each in stamps])
    assert packets.read_publish(0x32, publish(b"t", b"", stated), 1, 0.0).received_at_ms == expected


def test_texts_that_are_none_are_passed_over() -> None:
    """A broker that lets them through must not make us lose the connection, again and again."""
    bad = b"\x08\x00\x02\xff\xfe"
    read = packets.read_publish(0x32, publish(b"a/\xff", b"{}", bytes([len(bad)]) + bad), 1, 0.0)
    assert (read.topic, read.response_topic, read.payload) == ("a/�", None, b"{}")


@pytest.mark.parametrize("size", [0, 1, 100, 127 - 6, 128 - 6, 16_383 - 6, 16_384 - 6, 2_097_152, 3_000_000], ids=str)
def test_lengths_at_their_borders(size: int) -> None:
    """One to four bytes of length."""
    buffer = bytearray(packets.write_publish(Outbound("t", b"x" * size), 1) + packets.write_puback(9))
    (first, publish_packet), (second, puback) = packets.split(buffer)
    assert (packets.kind(first), packets.kind(second)) == (packets.PUBLISH, packets.PUBACK)
    assert len(packets.read_publish(first, publish_packet, 1, 0.0).payload) == size
    assert puback == b"\x00\x09"


def test_a_length_that_cannot_be_is_an_error() -> None:
    """Nothing after it could be found."""
    with pytest.raises(packets.ProtocolError):
        packets.split(bytearray(b"\x30\xff\xff\xff\xff\x01"))


@pytest.mark.parametrize(
    ("packet", "refused"),
    [(b"\x00\x01", False), (b"\x00\x01\x00", False), (b"\x00\x01\x10\x00", False), (b"\x00\x01\x87\x00", True)],
    ids=["plain", "success", "nobody listens", "not authorized"],
)
def test_refusals_of_the_broker(packet: bytes, refused: bool) -> None:  # noqa: FBT001 - a table's column
    """A reason of 0x80 and above says that the message went nowhere."""
    assert packets.is_refusal(packet) is refused
