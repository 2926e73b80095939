"""One lasting session over changing connections.

Rules it keeps:
- A request is acknowledged after its answer was written to the same connection; neither is awaited. The
  broker reads in order, so an acknowledged request is an answered one.
- An acknowledgement belongs to the connection that delivered. After a reconnect everything older is void: the
  broker delivers it again.
- What waits here is bounded by not reading on, and taken lane by lane in turn. Receive Maximum alone bounds nothing:
  Mosquitto 2.0 delivers beyond it while it is being acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol

from claimsvc.dialects.message import Inbound, Outbound
from claimsvc.immutable import immutable
from claimsvc.mqtt.client import Client, ConnectOptions, SilentlyClosedError, TakenOverError
from claimsvc.mqtt.connection import BrokerLostError


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


PAUSE_BYTES = 16 * 1024 * 1024
"""Above this much waiting payload nothing more is read from the connection."""


PAUSE_MESSAGES = 50_000
"""Nor above this many waiting messages, half a kilobyte each."""


LANE_PER_BATCH = 64
"""Of one lane's messages so many are handed over at once, so that a flood's batches are short for everybody."""


MOST_UNACKNOWLEDGED = 500
"""While the broker has not acknowledged so many answers, no request is taken. Mosquitto reads the packets of a
connection slower than a flood's answers are written. They would wait there in their order, with everybody's answers
behind them; requests that wait here get their turns."""


SILENCE_S = 20.0
"""The connection is given up if the broker acknowledges none of so many answers for this long, seconds."""


QOS0_PER_LANE = 500
"""More QoS 0 messages of one lane are not kept waiting: nobody would send them again, nor stop sending."""


BATCH_BYTES = 1024 * 1024
"""A batch is full at this much payload, so that one gateway's thousands do not hold everybody up."""


STABLE_S = 30.0
"""A connection that stood this long starts the backoff afresh."""


class Report(Protocol):
    """Where the session tells what happens to it: a log level, an event's name, its fields."""

    def __call__(self, level: str, event: str, **fields: object) -> None: ...


@immutable(kw_only=True)
class SessionOptions:
    """How to connect, what to subscribe to, and what to say on arrival; the will says the opposite."""

    connect: ConnectOptions
    filters: Sequence[str]
    lane_of: Callable[[str], str]
    """Whose a topic is: everybody's messages get their turn."""
    online: Outbound
    reconnect_max_s: float


class Session:
    """`run` keeps it connected; `receive`, `answer` and `abandon` are for one reader."""

    def __init__(self, options: SessionOptions, report: Report) -> None:
        self._options = options
        self._report = report
        self._inbox = Inbox(options.lane_of)
        self._arrived = asyncio.Event()
        self._client: Client | None = None
        self._connections = 0
        self._known = False
        """Whether the broker has had our session since this process began."""
        self._closing = False
        self._discarded = 0

    # --- for the reader

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        """Return what has arrived, at most `limit`; nothing after `patience_s` without a message."""
        if not self.waiting:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        return self.take(limit)

    def wake(self) -> None:
        """End a `receive` that waits."""
        self._arrived.set()

    def take(self, limit: int) -> list[Inbound]:
        """Return what has arrived by now, at most `limit`."""
        self._tell_of_losses()
        client = self._client
        if client is not None and self._room <= 0 and time.monotonic() - client.silent_since > SILENCE_S:
            client.lose("the broker acknowledges nothing")
        batch = self._inbox.take(min(limit, self._room), BATCH_BYTES, LANE_PER_BATCH)
        if self._client is not None and not self._is_full:
            self._client.resume()
        return batch

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        """Publish the answers to a request, then acknowledge it.

        Returns False where its connection is gone: then the request comes again.
        """
        client = self._client
        if client is None or client.number != inbound.connection:
            return False
        for outbound in outbounds:
            if not client.fits(outbound):
                self._report("error", "answer_too_large", topic=outbound.topic, bytes=len(outbound.payload))
            elif not client.send(outbound):
                self._client = None  # an answer is missing, so nothing more may be acknowledged here
                return False
        if inbound.qos:
            client.acknowledge(inbound.packet_id)
        return True

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        """Publish what nobody waits for, where a connection stands; what the broker does not take is dropped."""
        for outbound in outbounds:
            if self._client is not None and self._client.fits(outbound) and not self._client.send(outbound):
                self._client = None

    def _tell_of_losses(self) -> None:
        if self._discarded:
            self._report("warning", "qos0_discarded", messages=self._discarded)
            self._discarded = 0
        if self._client is not None and self._client.refused_answers:
            # The asker hears nothing, and a repeat would fare no better: the broker's ACL must be mended.
            self._report("error", "answers_refused", messages=self._client.refused_answers)
            self._client.refused_answers = 0

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return self._client is not None

    @property
    def waiting(self) -> bool:
        """Return True if a message has arrived and may be taken."""
        return self._inbox.messages > 0 and self._room > 0

    @property
    def _room(self) -> int:
        """Return how many more requests may be taken; 0 or less means none.

        While nothing is read there is no bound, because no acknowledgement could arrive.
        """
        if self._client is None or self._is_full:
            return PAUSE_MESSAGES
        return MOST_UNACKNOWLEDGED - self._client.unacknowledged

    @property
    def backlog(self) -> tuple[int, int]:
        """How many messages have arrived already, and the bytes of their payload."""
        return self._inbox.messages, self._inbox.bytes

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker takes this message; any, while there is none."""
        return self._client is None or self._client.fits(outbound)

    def abandon(self, why: str) -> None:
        """Drop the connection so that everything unacknowledged is delivered again."""
        self._inbox.clear()
        if self._client is not None:
            self._client.lose(why)

    def stop_reading(self) -> None:
        """Take no further requests: they stay with the broker for the next start."""
        self._closing = True
        self._inbox.clear()
        self._arrived.set()

    # --- the connection

    async def run(self) -> None:
        """Keep the session connected until it is closed, with capped exponential backoff and jitter."""
        failures = 0
        silently_closed = False
        while not self._closing:
            began = time.monotonic()
            try:
                async with self._connect(expected=not silently_closed) as client:
                    await client.ended()
                if not self._closing:
                    raise BrokerLostError("the broker ended the connection")  # noqa: TRY301 - as any other loss
            except Exception as error:  # noqa: BLE001 - whatever it was, the answer is a new connection
                if time.monotonic() - began > STABLE_S:
                    failures = 0
                delay = _backoff(failures, self._options.reconnect_max_s)
                failures += 1
                silently_closed = isinstance(error, SilentlyClosedError)
                level, event = _LOST.get(type(error), ("warning", "broker_lost"))
                text = str(error) or type(error).__name__
                self._report(level, event, error=text, retry_in_s=round(delay, 2))
                await asyncio.sleep(delay)

    @contextlib.asynccontextmanager
    async def _connect(self, *, expected: bool) -> AsyncIterator[Client]:
        """Connect. `expected` is False where the connection before was closed without a word."""
        self._inbox.clear()
        self._connections += 1
        client = Client(self._options.connect, self._connections, self._begin, self._take, self._acknowledged)
        try:
            async with client:
                for topic in await client.subscribe_all(self._options.filters):
                    self._report("warning", "subscription_downgraded", filter=topic, granted_qos=0)
                client.send(self._options.online)
                if not expected:
                    # Mosquitto 2.0 does not say that a session was taken over. But it closed the connection and
                    # is there at once: little else looks like that, a broker restarted in a blink perhaps.
                    text = "closed while the broker went on: another client seems to use our client id"
                    self._report("error", "session_taken_over", error=text)
                if self._known and not client.session_present:
                    self._report("error", "session_lost", error="the broker threw our session and its queue away")
                self._known = True
                self._report("info", "broker_connected", session_present=client.session_present)
                yield client
        finally:
            self._client = None
            self._inbox.clear()

    def _begin(self, client: Client) -> None:
        """Take the client into use with its CONNACK: a persistent session delivers right behind it."""
        self._client = client

    def _take(self, inbound: Inbound) -> None:
        if self._closing:
            return
        if not self._inbox.put(inbound, QOS0_PER_LANE):
            self._discarded += 1
            return
        if self._is_full and self._client is not None:
            self._client.pause()
        if self.waiting:
            self._arrived.set()

    def _acknowledged(self) -> None:
        """Wake the reader, which may wait for room."""
        if self.waiting:
            self._arrived.set()

    @property
    def _is_full(self) -> bool:
        return self._inbox.bytes >= PAUSE_BYTES or self._inbox.messages >= PAUSE_MESSAGES

    async def close(self) -> None:
        """Say goodbye so that nothing is lost or repeated: offline status, DISCONNECT, read to the end."""
        self._closing = True
        client = self._client
        if client is not None:
            client.send(self._options.connect.will)
            await client.leave()


_LOST: dict[type[Exception], tuple[str, str]] = {TakenOverError: ("error", "session_taken_over")}


def _backoff(failures: int, cap_s: float) -> float:
    """Full jitter over a doubling span; the first retry is quick."""
    return random.uniform(0.05, min(cap_s, 0.25 * 2 ** min(failures, 16)))  # noqa: S311 - jitter, no secret
