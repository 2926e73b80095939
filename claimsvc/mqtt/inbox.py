"""What has arrived and waits: one queue per lane, taken in turn, so that a flood stands in its own way only.

A broker delivers in the order of arrival, and Mosquitto hands over more than Receive Maximum while it is being
acknowledged, so thousands of one client's messages can stand before another's one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from claimsvc.dialects.message import Inbound


class Inbox:
    """Messages in their lanes. `lane_of` says whose lane a topic is in; within a lane order is kept."""

    def __init__(self, lane_of: Callable[[str], str]) -> None:
        self._lane_of = lane_of
        self._lanes: OrderedDict[str, deque[Inbound]] = OrderedDict()
        """In the order of their turns."""
        self.messages = 0
        self.bytes = 0
        """Of payload."""

    def put(self, inbound: Inbound, most_at_once: int) -> bool:
        """Let a message wait; one of QoS 0 not behind `most_at_once` others of its lane: then returns False."""
        lane = self._lane_of(inbound.topic)
        queue = self._lanes.get(lane)
        if queue is None:
            self._lanes[lane] = deque((inbound,))
        elif inbound.qos == 0 and len(queue) >= most_at_once:
            return False
        else:
            queue.append(inbound)
        self.messages += 1
        self.bytes += len(inbound.payload)
        return True

    def take(self, limit: int, most_bytes: int, rounds: int) -> list[Inbound]:
        """Return what waits, in each round one message of each lane, at most `limit` or `most_bytes` of payload.

        The last message may go beyond the bytes.
        """
        taken: list[Inbound] = []
        room = most_bytes
        for inbound in self._in_turn(rounds) if limit > 0 else ():
            taken.append(inbound)
            room -= len(inbound.payload)
            if len(taken) == limit or room <= 0:
                break
        self.messages -= len(taken)
        self.bytes -= most_bytes - room
        return taken

    def _in_turn(self, rounds: int) -> Iterator[Inbound]:
        """Take the first message of the lane whose turn it is, and send the lane to the end, again and again."""
        for _ in range(rounds):
            if not self._lanes:
                return
            for _ in range(len(self._lanes)):
                lane, queue = self._lanes.popitem(last=False)
                inbound = queue.popleft()
                if queue:
                    self._lanes[lane] = queue
                yield inbound

    def clear(self) -> None:
        """Forget everything; what was not acknowledged comes again."""
        self._lanes.clear()
        self.messages = self.bytes = 0
