"""REST over MQTT: request/<request id>/<METHOD>/<path>[?query] and its answer on response/<request id>.

The dialects define routes as data. This module finds the route of a call and wraps its answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from claimsvc.core.command import Command
from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Encode, Endpoint, Inbound, Limits, Rejected, Request, Sheet, malformed
from claimsvc.immutable import immutable

PREFIX = "request/"
DEEPEST_PATH = 10
"""The levels of the longest path that the service subscribes to."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")

B = TypeVar("B", bound=BaseModel)


@immutable
class Call:
    """A call of a route. The variables of the path and the query are decoded."""

    caller: str
    lane: str
    """The lane below the root, with a trailing slash."""
    variables: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@immutable
class Answer:
    """An HTTP status and a JSON body."""

    status: int
    body: object


EncodeAnswer = Callable[[Outcome, int], Answer]


@immutable
class Route:
    """A method and a path with `{variable}` segments, the decoder of its calls and the encoder of its answers."""

    method: str
    path: str
    decode: Callable[[Call], Command]
    encode: EncodeAnswer
    name: str
    login: str | None = None
    """The shared login whose clients may also call it, each in its own lane."""
    open_sheet: Callable[[Call, int], Sheet] | None = None
    """Reads the body as a file of rows. Its second argument is the largest number of rows."""

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))


@immutable
class Section:
    """The routes of a dialect below one prefix, and its encoder of refusals."""

    prefix: str
    refuse: EncodeAnswer
    routes: tuple[Route, ...]
    dialect: str
    """The name of the dialect, for metrics."""


def parse(model: type[B], body: bytes, *, empty: bytes | None = None) -> B:
    """Return the body as `model`; `empty` replaces a missing body. Raises Rejected, which names the field."""
    try:
        return model.model_validate_json(body or empty or b"")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise malformed(f"{where}: {first['msg']}") from None


class Router:
    """Finds the route of a request. The first section with a matching prefix refuses an unknown path."""

    def __init__(self, sections: Iterable[Section]) -> None:
        self._sections = tuple(sections)
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route, Section]]] = {}
        for section in self._sections:
            for route in section.routes:
                entry = (route.segments, route, section)
                self._by_length.setdefault(len(route.segments), []).append(entry)

    def endpoint(self, limits: Limits) -> Endpoint:
        """Return the topic filter of all requests."""
        return Endpoint(
            "rest",
            f"{PREFIX}+/+",
            lambda inbound: self._read(inbound, limits),
            depths=range(1, DEEPEST_PATH + 1),
        )

    def client_endpoints(self, limits: Limits) -> list[Endpoint]:
        """Return the full topics of the calls that clients of shared logins may make."""
        return [
            Endpoint(
                "rest",
                f"{PREFIX}+/{route.method}{route.path}",
                lambda inbound: self._read(inbound, limits),
                login=route.login,
            )
            for section in self._sections
            for route in section.routes
            if route.login is not None
        ]

    def _read(self, inbound: Inbound, limits: Limits) -> Request:
        request_id, _, rest = inbound.tail.removeprefix(PREFIX).partition("/")
        method, _, target = rest.partition("/")
        path, _, query = target.partition("?")
        found = self._find(method, path)
        if not inbound.caller and not isinstance(found, Refused) and found[0].login is None:
            found = Refused(Reason.NOT_PERMITTED, "this login may only request credentials")
        asked: Command | Refused
        open_sheet: Callable[[], Sheet] | None = None
        if isinstance(found, Refused):
            section = self._nearest(path)
            asked, encode, name, dialect = found, section.refuse, "unknown", section.dialect
        else:
            route, variables, dialect = found
            encode, name = route.encode, route.name
            try:
                call = _call(route, variables, query, inbound, request_id, limits)
                asked = route.decode(call)
                open_sheet = partial(route.open_sheet, call, limits.bulk_rows) if route.open_sheet else None
            except Rejected as rejected:
                asked = rejected.refused
        return Request(
            inbound,
            asked,
            _wrapped(encode),
            f"response/{request_id}",
            name,
            dialect,
            request_id=request_id,
            content=f"{method} {target}\n".encode() + inbound.payload,
            open_sheet=open_sheet,
        )

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str], str] | Refused:
        segments = path.split("/")
        other_methods: list[str] = []
        for pattern, route, section in self._by_length.get(len(segments), ()):
            variables = _match(pattern, segments)
            if variables is None:
                continue
            if route.method == method:
                return route, variables, section.dialect
            other_methods.append(route.method)
        if other_methods:
            return Refused(Reason.METHOD_NOT_ALLOWED, f"use {' or '.join(sorted(set(other_methods)))}")
        return Refused(Reason.NO_SUCH_CALL)

    def _nearest(self, path: str) -> Section:
        matching = (section for section in self._sections if f"/{path}".startswith(section.prefix))
        return next(matching, self._sections[-1])


def _call(
    route: Route,
    variables: Mapping[str, str],
    query: str,
    inbound: Inbound,
    request_id: str,
    limits: Limits,
) -> Call:
    if not _REQUEST_ID.fullmatch(request_id):
        raise malformed("a request id has 1 to 64 characters of A-Z a-z 0-9 . _ ~ -")
    limit_bytes = limits.bulk_bytes if route.open_sheet else limits.payload_bytes
    if len(inbound.payload) > limit_bytes:
        raise Rejected(Reason.TOO_LARGE, f"at most {limit_bytes} bytes")
    decoded = {name: _unquoted(value) for name, value in variables.items()}
    return Call(inbound.caller, inbound.lane, decoded, _query(query), inbound.payload)


def _match(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    variables: dict[str, str] = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            variables[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return variables


def _unquoted(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise malformed("the path is not percent-encoded UTF-8") from None


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100))
    except ValueError:
        raise malformed("the query is not percent-encoded UTF-8") from None


def _wrapped(encode: EncodeAnswer) -> Encode:
    def wrapped(outcome: Outcome, now_ms: int) -> bytes:
        answer = encode(outcome, now_ms)
        return to_json({"status": answer.status, "body": answer.body})

    return wrapped


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a flag of the query, `true` or `false`; false if it is missing. Raises Rejected."""
    word = query.get(name, "false")
    if word not in {"true", "false"}:
        raise malformed(f"{name}: true or false is expected")
    return word == "true"


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Return a whole number of the query, at most `most`. Raises Rejected."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(2**53))):
        raise malformed(f"{name}: a whole number is expected")
    return min(int(text), most)
