"""The parts of a dialect: its topics, the message from the broker, the request read from it, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from claimsvc.core.bulk import ImportCounts, RowsDone
from claimsvc.core.command import Command
from claimsvc.core.decision import Decision, Outcome, Refused
from claimsvc.core.reasons import Reason
from claimsvc.immutable import immutable

Encode = Callable[[Outcome, int], bytes | None]
"""Returns the bytes that answer an outcome at a time in epoch milliseconds; None for no answer."""


@immutable
class AnswerTails:
    """The two topics of an answer, below the lane, of a dialect whose refusals have a topic of their own."""

    done: str
    refused: str


class Rejected(Exception):  # noqa: N818 - a verdict on the sender's bytes, not an error of the service
    """The bytes cannot be understood as a request."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.refused = Refused(reason, detail)


def malformed(detail: str) -> Rejected:
    """Return the rejection of a malformed request. `detail` must not quote the payload, which may contain secrets."""
    return Rejected(Reason.MALFORMED, detail)


@immutable(kw_only=True)
class Limits:
    """The limits of requests: bytes of a payload, devices in a gateway's message, rows of a file."""

    payload_bytes: int
    gateway_bytes: int
    gateway_devices: int
    bulk_bytes: int
    bulk_rows: int


@immutable
class Outbound:
    """A message to the broker. Answers have QoS 1 and are never retained."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    correlation: bytes | None = None


@dataclass(slots=True)
class Inbound:
    """A message from the broker. `lanes` fills in the last four fields when it finds the lane of the topic."""

    topic: str
    payload: bytes
    connection: int
    """The number of the connection that delivered it. Only that connection can acknowledge it."""
    packet_id: int
    qos: int
    arrived: float
    """The time of its arrival in this process, seconds on the monotonic clock."""
    redelivered: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    received_at_ms: int | None = None
    """The time at which the broker's plugin received it, epoch milliseconds."""

    caller: str = ""
    """The principal of its lane; "" in a lane of a shared login's client."""
    client_id: str = ""
    """The client id of its lane; "" in a lane of a principal."""
    lane: str = ""
    """The lane below the root, with a trailing slash."""
    tail: str = ""
    """The topic below the lane."""


@immutable
class Slice:
    """Some rows of a file as one command. `note` returns the part of its outcome that the answer needs, as JSON."""

    command: Command
    note: Callable[[RowsDone], object]


@immutable
class Sheet:
    """A file of rows whose header and size are acceptable. `slices(n)` yields the rows after the first n."""

    rows: int
    slices: Callable[[int], Iterator[Slice]]
    encode_progress: Callable[[ImportCounts], bytes]
    is_rehearsal: bool
    """True if the sender only wants to know the result of each row, without any change."""
    answer_bytes: int = 0
    """The approximate size of an answer that can be given only once; 0 if it does not matter."""


@dataclass(slots=True, eq=False)
class Request:
    """A message with its command, or the refusal, and the encoder of its answer.

    An endpoint creates it. `lanes` adds the topic of the answer. The MQTT side adds the decision and the messages to
    publish.
    """

    inbound: Inbound
    asked: Command | Refused
    """A refusal if the message is malformed. Then no rule decides it."""
    encode: Encode
    answer_tail: str | AnswerTails
    """The topic of the answer, below the lane."""
    name: str
    """The name of the call, for the log and the metrics."""
    dialect: str
    request_id: str | None = None
    content: bytes = b""
    """The content that a repeat of the request id must have."""
    open_sheet: Callable[[], Sheet] | None = None
    """Reads the file of an import. It is slow, and raises Rejected."""

    lane: str = ""
    """The lane with the root, with a trailing slash."""
    chosen_topic: str | None = None
    """The topic that the client chose for the answer; None for the dialect's topic."""
    response_topic_ignored: bool = False
    decision: Decision | None = None
    outbounds: Sequence[Outbound] = field(default=())
    promises_login: bool = False
    """True if the answer contains a login. The broker must admit it before the answer is sent."""

    @property
    def command(self) -> Command:
        """Return the command. Raises TypeError if the request was refused without one."""
        if isinstance(self.asked, Refused):
            raise TypeError("a refused request has no command")
        return self.asked

    @property
    def repeat_key(self) -> tuple[str, str] | None:
        """Return (lane, request id), the key of the stored first answer; None if the call has no id."""
        return None if self.request_id is None else (self.lane, self.request_id)

    @property
    def redelivered(self) -> bool:
        """Return whether the broker may have delivered this message before."""
        return self.inbound.redelivered

    def answer(self, outcome: Outcome, now_ms: int) -> tuple[Outbound, ...]:
        """Return the answer, encoded by the dialect; empty if the dialect does not answer."""
        payload = self.encode(outcome, now_ms)
        return () if payload is None else (self.to_asker(payload, self.tail_for(outcome)),)

    @property
    def answer_tails(self) -> tuple[str, ...]:
        """Return every topic, below the lane, on which this request may be answered."""
        tail = self.answer_tail
        return (tail,) if isinstance(tail, str) else (tail.done, tail.refused)

    @property
    def answer_topic(self) -> str:
        """Return the topic of the answer; of a request that is not refused, if refusals have another one."""
        return self.chosen_topic or self.lane + self.answer_tails[0]

    def tail_for(self, outcome: Outcome) -> str:
        """Return the answer's topic below the lane."""
        tail = self.answer_tail
        if isinstance(tail, str):
            return tail
        return tail.refused if isinstance(outcome, Refused) else tail.done

    def to_asker(self, payload: bytes, tail: str | None = None) -> Outbound:
        """Return `payload` as an answer: on the topic that the client chose, otherwise on `tail` in its lane.

        `tail` may be None if the answer is no refusal, or refusals have no topic of their own.
        """
        topic = self.answer_topic if tail is None else self.chosen_topic or self.lane + tail
        return Outbound(topic, payload, correlation=self.inbound.correlation)

    def progress(self, payload: bytes) -> Outbound:
        """Return `payload` as a progress message of a long request. It has QoS 0, so it may be lost."""
        return Outbound(f"{self.answer_topic}/progress", payload, qos=0, correlation=self.inbound.correlation)

    def without_content(self) -> Request:
        """Return this request without its payload, because a file is large and its answer may take minutes."""
        return replace(self, inbound=replace(self.inbound, payload=b""), content=b"", open_sheet=None)


USERS, CLIENTS = "u", "c"
"""The two kinds of lanes: of a principal, and of one client of a shared login."""


@immutable
class Endpoint:
    """A topic of a dialect, below its lane. `filter` may end in `+` levels. `depths` adds more of them."""

    dialect: str
    filter: str
    read: Callable[[Inbound], Request]
    depths: Sequence[int] = (0,)
    login: str | None = None
    """The shared login whose clients have this topic in their lanes; None for the lanes of principals."""

    @property
    def lanes(self) -> str:
        """Return the levels between the root and the last level of the lanes that have this topic."""
        return USERS if self.login is None else f"{CLIENTS}/{self.login}"

    @property
    def prefix(self) -> str | None:
        """Return the common beginning of all tails, or None if the tail is the filter itself."""
        return self.filter.partition("+")[0] if "+" in self.filter else None


def asked(decode: Callable[[Inbound], Command], inbound: Inbound, limit_bytes: int) -> Command | Refused:
    """Return the command of a message, or the refusal."""
    if len(inbound.payload) > limit_bytes:
        return Refused(Reason.TOO_LARGE, f"at most {limit_bytes} bytes")
    try:
        return decode(inbound)
    except Rejected as rejected:
        return rejected.refused
