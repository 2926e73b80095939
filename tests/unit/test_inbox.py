"""What waits, lane by lane."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claimsvc.app import lanes_of
from claimsvc.dialects.message import Inbound
from claimsvc.mqtt.session import Inbox
from claimsvc.settings import Settings

DIALECTS = lanes_of(Settings())
MANY = 10**6


def inbox() -> Inbox:
    """Return an empty inbox with the service's own idea of lanes."""
    return Inbox(DIALECTS.lane_of)


def message(who: str, payload: bytes = b"", *, qos: int = 1) -> Inbound:
    """Return a message in somebody's lane."""
    return Inbound(f"claimsvc/u/{who}/v2/c", payload, 1, 1, qos, 0.0)


def takers(box: Inbox, limit: int, rounds: int = MANY) -> list[str]:
    """Return whose messages are taken, in order."""
    return [each.topic.split("/")[2] for each in box.take(limit, MANY, rounds)]


def test_a_flood_stands_in_its_own_way() -> None:
    """Whoever comes behind a thousand messages of one client is served with the next batch."""
    box = inbox()
    for _ in range(1_000):
        box.put(message("flood"), MANY)
    box.put(message("alice"), MANY)
    box.put(message("bob"), MANY)
    assert takers(box, 4) == ["flood", "alice", "bob", "flood"]


def test_lanes_that_were_served_go_to_the_end() -> None:
    """Turns are kept from batch to batch."""
    box = inbox()
    for who in ("a", "b", "c"):
        for _ in range(2):
            box.put(message(who), MANY)
    assert takers(box, 2) == ["a", "b"]
    assert takers(box, 2) == ["c", "a"]
    assert takers(box, 9) == ["b", "c"]


def test_one_lane_has_its_share_of_a_batch() -> None:
    """However much of it waits; the rest comes with the next one."""
    box = inbox()
    for _ in range(100):
        box.put(message("flood"), MANY)
    box.put(message("alice"), MANY)
    assert takers(box, 50, rounds=3) == ["flood", "alice", "flood", "flood"]
    assert takers(box, 50, rounds=3) == ["flood"] * 3
    assert box.messages == 94


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_each_message_comes_out_once_and_a_lanes_in_order(sent: list[str], limit: int, most_bytes: int) -> None:
    """Whatever is taken at a time; counts and bytes are right throughout."""
    box = inbox()
    waiting = [message(who, b"%d" % number) for number, who in enumerate(sent)]
    for each in waiting:
        assert box.put(each, MANY)
    taken: list[Inbound] = []
    while box.messages:
        batch = box.take(limit, most_bytes, MANY)
        assert 0 < len(batch) <= limit
        assert sum(len(each.payload) for each in batch[:-1]) < most_bytes
        taken += batch
        assert box.messages == len(waiting) - len(taken)
        assert box.bytes == sum(len(each.payload) for each in waiting) - sum(len(each.payload) for each in taken)
    for who in "abc":
        lane = f"claimsvc/u/{who}/v2/c"
        assert [each for each in taken if each.topic == lane] == [each for each in waiting if each.topic == lane]


def test_qos_0_is_not_kept_behind_too_many_of_its_own_lane() -> None:
    """Another lane's is, and QoS 1 always."""
    box = inbox()
    assert [box.put(message("flood", qos=0), 2) for _ in range(4)] == [True, True, False, False]
    assert box.put(message("flood"), 2)
    assert box.put(message("alice", qos=0), 2)
    assert box.messages == 4


def test_cleared() -> None:
    """Nothing waits any more."""
    box = inbox()
    box.put(message("a", b"xyz"), MANY)
    box.clear()
    assert (box.messages, box.bytes, box.take(9, MANY, MANY)) == (0, 0, [])


def test_lanes_of_topics() -> None:
    """A lane is the root, its kind and its name; odd topics have some lane too."""
    assert DIALECTS.lane_of("claimsvc/u/alice/request/1/GET/x") == "claimsvc/u/alice"
    assert DIALECTS.lane_of("claimsvc/c/bootstrap/x%2Fy/s/ucr") == "claimsvc/c/bootstrap/x%2Fy"
    for odd in ("", "x", "claimsvc", "claimsvc/", "claimsvc/u", "claimsvc/u/", "claimsvc/u/a"):
        DIALECTS.lane_of(odd)
