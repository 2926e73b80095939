"""Lanes, and how a message in one becomes a request: who asks, what, and where the answer goes.

The lane in the topic is believed and nothing else: no payload or MQTT property changes who is asking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from claimsvc.core.bulk import ImportCounts, RowsDone
from claimsvc.core.command import Command
from claimsvc.core.decision import Notice, Outcome, Refused
from claimsvc.core.model import Event
from claimsvc.core.names import name_error
from claimsvc.core.reasons import Reason
from claimsvc.immutable import immutable
from claimsvc.wire import Inbound, Outbound

DEEPEST_ANSWER = 20
"""Levels of a topic a client may choose for its answer; Mosquitto cuts off whoever publishes on 200."""
LONGEST_TOPIC = 65_535
SURELY_FITS = LONGEST_TOPIC // 4
"""Characters of a topic that fit whatever they are."""

USERS, CLIENTS = "u", "c"
"""The two kinds of lanes: of a principal, and of one client of a shared login."""

Encode = Callable[[Outcome, int], bytes | None]
"""Turns an outcome, at a time in epoch milliseconds, into the bytes of its answer; None is silence."""


class Rejected(Exception):  # noqa: N818 - a verdict on the sender's bytes, not an error of ours
    """The bytes cannot be understood as a request."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.refused = Refused(reason, detail)


def malformed(detail: str) -> Rejected:
    """Return the rejection that names what is wrong; it never quotes a payload, which may hold secrets."""
    return Rejected(Reason.MALFORMED, detail)


@immutable(kw_only=True)
class Limits:
    """The largest requests: bytes of payload, devices in a gateway's message, rows of a file."""

    payload_bytes: int
    gateway_bytes: int
    gateway_devices: int
    bulk_bytes: int
    bulk_rows: int


@immutable
class Arrival:
    """What an endpoint may look at: the caller, the topic behind the lane, payload and broker's stamp."""

    caller: str
    """The principal; "" in the lane of a shared login's client."""
    client_id: str
    """The client id whose lane it is; "" in the lane of a principal."""
    lane: str
    """The lane behind the root, with a slash at its end."""
    tail: str
    payload: bytes
    received_at_ms: int | None
    redelivered: bool


@immutable
class Slice:
    """Some rows of a file as one command. `note` keeps of its outcome what the file's answer will need, as JSON."""

    command: Command
    note: Callable[[RowsDone], object]


@immutable
class Sheet:
    """A file of rows, read and found to make sense. `slices` yields what is left behind so many rows."""

    rows: int
    slices: Callable[[int], Iterator[Slice]]
    encode_progress: Callable[[ImportCounts], bytes]
    is_rehearsal: bool
    """Whether it is only to be told what would become of the rows."""
    answer_bytes: int = 0
    """Where the answer tells what is told once: how long it will be, about."""


@immutable
class Reading:
    """An arrival understood, or refused without asking any rule."""

    command: Command | Refused
    encode: Encode
    answer_tail: str
    name: str
    """What was asked, for the log, also where there is no command."""
    request_id: str | None = None
    content: bytes = b""
    """What a repeat of the request id must equal."""
    dialect: str | None = None
    """Whose call it is, where the endpoint's dialect is only the way it came."""
    open_sheet: Callable[[], Sheet] | None = None
    """Reads the file that a command allows to be worked through; slow, and raises Rejected."""


@immutable
class Endpoint:
    """A topic of a dialect, without its lane. `filter` may end in `+` levels; `depths` adds more of them."""

    dialect: str
    filter: str
    read: Callable[[Arrival], Reading]
    depths: Sequence[int] = (0,)
    login: str | None = None
    """The one shared login whose clients have this topic in their lanes; None for the lanes of principals."""

    @property
    def lanes(self) -> str:
        """Return what follows the root in the lanes that have this topic; then comes the lane's last level."""
        return USERS if self.login is None else f"{CLIENTS}/{self.login}"

    @property
    def prefix(self) -> str | None:
        """Return what every tail begins with, or None where the tail is the filter itself."""
        return self.filter.partition("+")[0] if "+" in self.filter else None


@immutable
class Request:
    """A message understood as far as it can be, with where its answer goes."""

    inbound: Inbound
    lane: str
    principal: str
    dialect: str
    reading: Reading
    answer_topic: str
    response_topic_ignored: bool = False

    @property
    def command(self) -> Command | None:
        """Return the command, or None where the message was refused without one."""
        return None if isinstance(self.reading.command, Refused) else self.reading.command

    def refused(self, refused: Refused) -> Request:
        """Return this request refused before any rule is asked."""
        return replace(self, reading=replace(self.reading, command=refused))

    def answer(self, outcome: Outcome, now_ms: int) -> tuple[Outbound, ...]:
        """Return the answer in the dialect's words; nothing where the dialect is silent."""
        payload = self.reading.encode(outcome, now_ms)
        return () if payload is None else (self.to_asker(payload),)

    def progress(self, payload: bytes) -> Outbound:
        """Return word of how far a long request is; it may be lost."""
        return Outbound(f"{self.answer_topic}/progress", payload, qos=0, correlation=self.inbound.correlation)

    def without_content(self) -> Request:
        """Return this request without the bytes it came with, which may be many."""
        return replace(
            self,
            inbound=replace(self.inbound, payload=b""),
            reading=replace(self.reading, content=b"", open_sheet=None),
        )

    def to_asker(self, payload: bytes) -> Outbound:
        """Return `payload` as the answer."""
        return Outbound(self.answer_topic, payload, correlation=self.inbound.correlation)


def _is_answer_topic(topic: str, lane: str) -> bool:
    """Whether a client may choose this for its answer: below `response/` of its own lane.

    And no broker cuts us off for it: no wildcard, no odd character, neither too long nor too deep.
    """
    fits = name_error(topic) is None and topic.count("/") <= DEEPEST_ANSWER and not set("+#") & set(topic)
    return fits and topic.startswith(f"{lane}response/")


class Dialects:
    """All endpoints below one root. Decoding never raises: what cannot be understood is a refusal."""

    def __init__(
        self,
        root: str,
        endpoints: Iterable[Endpoint],
        encode_notices: Mapping[type[Notice], Callable[[Any], tuple[str, bytes] | None]],
        encode_event: Callable[[Event], bytes],
    ) -> None:
        self._root = root
        self._root_prefix = f"{root}/"
        self._clients_prefix = f"{root}/{CLIENTS}/"
        self._encode_notices = encode_notices
        self._encode_event = encode_event
        self._endpoints = tuple(endpoints)
        self._exact = {(each.lanes, each.filter): each for each in self._endpoints if each.prefix is None}
        self._prefixed = tuple((each.prefix, each) for each in self._endpoints if each.prefix is not None)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return every topic that is answered on."""
        return self._endpoints

    @property
    def filters(self) -> list[str]:
        """Return the subscriptions: filters of exact depth, so that no name can shift a topic."""
        return [
            f"{self._root}/{endpoint.lanes}/+/{endpoint.filter}{'/+' * depth}"
            for endpoint in self._endpoints
            for depth in endpoint.depths
        ]

    def lane_of(self, topic: str) -> str:
        """Return the lane a topic is in, as far as it can be told without a look at what it says."""
        end = topic.find("/", len(self._root) + 1)
        if topic.startswith(self._clients_prefix):
            end = topic.find("/", end + 1)  # after the login comes the client id
        return topic[: topic.find("/", end + 1)]

    def decode(self, inbound: Inbound) -> Request | None:
        """Return the request a message makes, or None when no endpoint of ours has its topic or it has no answer."""
        lane = self._lane(inbound.topic)
        if lane is None:
            return None
        lanes, name, tail = lane
        endpoint = self._exact.get((lanes, tail)) or self._prefixed_endpoint(lanes, tail)
        if endpoint is None:
            return None
        principal, client_id = (name, "") if lanes == USERS else ("", unquote(name))
        own_lane = f"{lanes}/{name}/"
        prefix = f"{self._root}/{own_lane}"
        reading = endpoint.read(
            Arrival(
                principal, client_id, own_lane, tail, inbound.payload, inbound.received_at_ms, inbound.redelivered
            )
        )
        default, asked = prefix + reading.answer_tail, inbound.response_topic
        own = asked is not None and _is_answer_topic(asked, prefix)
        answer_topic = asked if asked is not None and own else default
        if len(answer_topic) > SURELY_FITS and len(answer_topic.encode()) > LONGEST_TOPIC:
            return None
        # Who came by a plain topic names a plain topic, where the plugin brings the answer anyway.
        ignored = asked is not None and asked not in {answer_topic, reading.answer_tail}
        return Request(
            inbound,
            prefix,
            principal,
            reading.dialect or endpoint.dialect,
            reading,
            answer_topic,
            response_topic_ignored=ignored,
        )

    def notice(self, notice: Notice) -> Outbound | None:
        """Return the message that tells a device of what happened to it; None where it cannot be told."""
        encoded = self._encode_notices[type(notice)](notice)
        return Outbound(f"{self._root}/{encoded[0]}", encoded[1]) if encoded else None

    def event(self, event: Event) -> Outbound:
        """Return an audit event for who listens, at most once: the store holds it."""
        return Outbound(f"{self._root}/events/{event.tenant}/{event.event}", self._encode_event(event), qos=0)

    def status(self, payload: bytes) -> Outbound:
        """Return the retained word about the service itself."""
        return Outbound(f"{self._root}/status", payload, retain=True)

    def _lane(self, topic: str) -> tuple[str, str, str] | None:
        """Return the kind of lane with its login, the lane's last level, and the rest of the topic."""
        if not topic.startswith(self._root_prefix):
            return None
        lanes, _, rest = topic[len(self._root_prefix) :].partition("/")
        if lanes == CLIENTS:
            login, _, rest = rest.partition("/")
            lanes = f"{CLIENTS}/{login}"
        elif lanes != USERS:
            return None
        name, separator, tail = rest.partition("/")
        return (lanes, name, tail) if name and separator else None

    def _prefixed_endpoint(self, lanes: str, tail: str) -> Endpoint | None:
        matching = (each for prefix, each in self._prefixed if each.lanes == lanes and tail.startswith(prefix))
        return next(matching, None)
