"""Lanes: who asks, what, and where the answer goes.

The service believes the lane in the topic and nothing else: no payload and no MQTT property changes who is asking.

    <root>/u/<principal>/<topic>              a client that logged in as <principal>
    <root>/c/<login>/<client id>/<topic>      a client of a shared login, which has no login of its own yet
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from claimsvc.core.decision import Append, Decision, Notice, Refused
from claimsvc.core.model import Event
from claimsvc.core.names import name_error
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import CLIENTS, USERS, Endpoint, Inbound, Outbound, Request

DEEPEST_ANSWER = 20
"""Levels of an answer topic that a client may choose. Mosquitto disconnects a publisher of a topic with 200."""
LONGEST_TOPIC = 65_535
SURELY_FITS = LONGEST_TOPIC // 4
"""A topic of so many characters fits, whatever they are."""

EncodeNotice = Callable[[Any], tuple[str, bytes] | None]
"""Returns a topic below the root and a payload; None if the notice cannot be delivered."""


class Lanes:
    """All endpoints below one root. Reading never raises: what cannot be understood is a refused request."""

    def __init__(
        self,
        root: str,
        endpoints: Iterable[Endpoint],
        encode_notices: Mapping[type[Notice], EncodeNotice],
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
        """Return the lane of a topic without checking that the topic is one of ours."""
        end = topic.find("/", len(self._root) + 1)
        if topic.startswith(self._clients_prefix):
            end = topic.find("/", end + 1)  # the client id follows the login
        return topic[: topic.find("/", end + 1)]

    # --- in

    def read(self, inbound: Inbound) -> Request:
        """Return the request of a message; it has no answer if no endpoint has its topic or none could be sent."""
        endpoint = self._locate(inbound)
        if endpoint is None:
            return unanswerable(inbound)
        request = endpoint.read(inbound)
        request.lane = prefix = self._root_prefix + inbound.lane
        asked = inbound.response_topic
        if asked is not None:
            is_own = _is_answer_topic(asked, prefix)
            request.chosen_topic = asked if is_own else None
            # A client that uses plain topics names a plain topic, and the plugin brings the answer there anyway.
            request.response_topic_ignored = not is_own and asked not in request.answer_tails
        longest = request.chosen_topic or prefix + max(request.answer_tails, key=len)
        if len(longest) > SURELY_FITS and len(longest.encode()) > LONGEST_TOPIC:
            return unanswerable(inbound)
        return request

    def _locate(self, inbound: Inbound) -> Endpoint | None:
        """Fill in the lane of a message, and return the endpoint of its topic."""
        topic = inbound.topic
        if not topic.startswith(self._root_prefix):
            return None
        lanes, _, rest = topic[len(self._root_prefix) :].partition("/")
        if lanes == CLIENTS:
            login, _, rest = rest.partition("/")
            lanes = f"{CLIENTS}/{login}"
        name, separator, tail = rest.partition("/")
        if not name or not separator:
            return None
        inbound.lane, inbound.tail = f"{lanes}/{name}/", tail
        if lanes == USERS:
            inbound.caller = name
        else:
            inbound.client_id = unquote(name)
        return self._exact.get((lanes, tail)) or self._prefixed_endpoint(lanes, tail)

    def _prefixed_endpoint(self, lanes: str, tail: str) -> Endpoint | None:
        matching = (each for prefix, each in self._prefixed if each.lanes == lanes and tail.startswith(prefix))
        return next(matching, None)

    # --- out

    def told(self, decision: Decision) -> tuple[Sequence[Outbound], Sequence[Outbound]]:
        """Return what clients other than the asker hear of a decision: notices, and audit events."""
        notices = [notice for each in decision.notices if (notice := self.notice(each))]
        return notices, [self.event(change.event) for change in decision.changes if isinstance(change, Append)]

    def notice(self, notice: Notice) -> Outbound | None:
        """Return the message that tells a device what happened to it; None if it cannot be delivered."""
        encoded = self._encode_notices[type(notice)](notice)
        return Outbound(self._root_prefix + encoded[0], encoded[1]) if encoded else None

    def event(self, event: Event) -> Outbound:
        """Return an audit event for those who subscribed, at most once: the store holds it."""
        return Outbound(f"{self._root}/events/{event.tenant}/{event.event}", self._encode_event(event), qos=0)

    def status(self, payload: bytes) -> Outbound:
        """Return the retained message about the service itself."""
        return Outbound(f"{self._root}/status", payload, retain=True)


def unanswerable(inbound: Inbound, reason: Reason = Reason.NO_SUCH_CALL) -> Request:
    """Return the request of a message that cannot be answered: it is only acknowledged."""
    return Request(inbound, Refused(reason), lambda _outcome, _now_ms: None, "", "unknown", "none")


def _is_answer_topic(topic: str, lane: str) -> bool:
    """Return whether a client may choose this answer topic: below `response/` of its own lane, and harmless.

    The broker disconnects a publisher of a topic with a wildcard or a control character, or of one too long or deep.
    """
    is_harmless = name_error(topic) is None and topic.count("/") <= DEEPEST_ANSWER and not set("+#") & set(topic)
    return is_harmless and topic.startswith(f"{lane}response/")
