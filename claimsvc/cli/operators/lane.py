"""REST over MQTT in the operator's own lane: calls, their answers, and retries.

A call without an answer is repeated with the same request id, so that nothing is done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from pydantic_core import from_json, to_json

from claimsvc.dialects.message import Outbound
from claimsvc.log import clean
from claimsvc.mqtt.caller import (
    REFUSED,
    Caller,
    CallerError,
    CallerOptions,
    CallTimeoutError,
    CannotConnectError,
    ConnectionLostError,
    Heard,
    NotAllowedError,
    open_caller,
)

TRIES = 3
"""Number of times that a call without an answer is sent."""
_BETWEEN_TRIES_S = 1.0
_BURST_S, _SETTLED_S, _STATUS_S = 0.5, 0.05, 2.0
_OFFLINE = "the service is offline; the request waits on the broker and is executed when the service is back"
_SILENT = "the service does not answer; the request may have been executed"
_TO_ENCODE = re.compile(r"[%/+#\x00-\x1f\x7f-\x9f]")
_NEEDS_ENCODING = re.compile(r"[/+#\x00-\x1f\x7f-\x9f]")
_FORBIDDEN = 403

Progress = Callable[[dict[str, Any]], None]


class NotUnderstoodError(CallerError):
    """The message received is no answer of claimsvc."""


class CallRefusedError(Exception):
    """The service refuses the call. `code` is its reason, "" if the answer has none."""

    def __init__(self, status: int, body: Any) -> None:
        answer = body if isinstance(body, dict) else {}
        # Cumulocity's shape has its own type in `error`, and the service's code in `code`.
        self.code = str(answer.get("code") or answer.get("error") or "")
        self.status = status
        self.body = body
        self.retry_after_ms: int | None = answer.get("retryAfterMs")
        # Both systems' own texts for a forbidden call do not say which permission is missing; `detail` does.
        text = str(answer.get("detail") or answer.get("message") or body)
        super().__init__(clean(f"{text} ({self.code})" if self.code else text))

    @property
    def is_forbidden(self) -> bool:
        """Return whether the caller lacks the permission for the call."""
        return self.status == _FORBIDDEN


def level_of(username: str) -> str:
    """Return the topic level of a login. A name that cannot be a topic level is percent-encoded."""
    if not _NEEDS_ENCODING.search(username):
        return username
    return _TO_ENCODE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), username)


def segment(name: str) -> str:
    """Return a name as a segment of a path, or a value of a query."""
    return quote(name, safe="")


class Lane:
    """A connection in the operator's own lane. It connects with the first call, and reconnects after a loss.

    `root` is the first level of the service's topics.
    """

    def __init__(self, options: CallerOptions, root: str) -> None:
        self._options = options
        self._root = root
        self._lane = f"{root}/u/{level_of(options.username or '')}/"
        self._connection = AsyncExitStack()
        self._caller: Caller | None = None
        self._hears_events = False
        self.is_changing = False
        """True during a call that changes something: the service executes it even if this command is interrupted."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.aclose()

    async def _connected(self) -> Caller:
        if self._caller is not None:
            return self._caller
        caller = await self._connection.enter_async_context(open_caller(self._options))
        answers = f"{self._lane}response/#"
        code = await caller.subscribe(answers)
        if code >= REFUSED:
            raise NotAllowedError(f"read {answers}", code)
        if self._hears_events:
            await caller.subscribe(f"{self._root}/events/+/+", qos=0)
        self._caller = caller
        return caller

    async def _drop(self) -> None:
        self._caller = None
        with contextlib.suppress(CallerError):
            await self._connection.aclose()

    async def call(self, method: str, path: str, body: object = None, *, progress: Progress | None = None) -> Any:
        """Make a call and return the answer's body. Raises CallRefusedError and CallerError.

        `body` is None, bytes that are sent unchanged, or a value that is sent as JSON. `progress` receives the
        progress messages of a long call. Each of them restarts the timeout.
        """
        payload = b"" if body is None else body if isinstance(body, bytes) else to_json(body)
        request_id = secrets.token_hex(16)
        await self._connected()  # without retries: an unreachable broker is reported at once
        self.is_changing = method != "GET"
        answer = await self._repeatedly(request_id, f"{method}{path}", payload, progress)
        self.is_changing = False
        return answer

    async def _repeatedly(self, request_id: str, target: str, payload: bytes, progress: Progress | None) -> Any:
        for left in reversed(range(TRIES)):
            try:
                return await self._once(request_id, target, payload, progress)
            except CallTimeoutError:
                if await self._is_offline():
                    raise CallTimeoutError(_OFFLINE) from None
                if not left:
                    raise CallTimeoutError(_SILENT) from None
            except (ConnectionLostError, CannotConnectError):
                await self._drop()
                if not left:
                    raise
                await asyncio.sleep(_BETWEEN_TRIES_S)
        raise AssertionError("unreachable")

    async def _once(self, request_id: str, target: str, payload: bytes, progress: Progress | None) -> Any:
        caller = await self._connected()
        request = Outbound(f"{self._lane}request/{request_id}/{target}", payload)
        answer_topic = f"{self._lane}response/{request_id}"
        if progress is None:
            heard = await caller.call(request, answer_topic)
        else:
            patience_s = self._options.timeout_s
            try:
                async with asyncio.timeout(patience_s) as patience:

                    def take(payload: bytes) -> None:
                        patience.reschedule(asyncio.get_running_loop().time() + patience_s)
                        progress(_parsed(payload))

                    with caller.listening(f"{answer_topic}/progress", lambda heard: take(heard.payload)):
                        heard = await caller.call(request, answer_topic, math.inf)
            except TimeoutError:
                raise CallTimeoutError(f"no answer on {answer_topic}") from None
        answer = _parsed(heard.payload)
        if not isinstance(answer.get("status"), int) or "body" not in answer:
            raise NotUnderstoodError("the answer has no status and body: it does not come from claimsvc")
        if not 200 <= answer["status"] < 300:  # noqa: PLR2004 - as in HTTP
            raise CallRefusedError(answer["status"], answer["body"])
        return answer["body"]

    async def _is_offline(self) -> bool:
        """Return whether the service's status is `offline`, set by the service or by its will."""
        status: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        topic = f"{self._root}/status"
        caller = await self._connected()

        def take(heard: Heard) -> None:
            if not status.done():
                status.set_result(heard.payload)

        with caller.listening(topic, take):
            await caller.subscribe(topic)
            with contextlib.suppress(TimeoutError, NotUnderstoodError):
                async with asyncio.timeout(_STATUS_S):
                    return _parsed(await status).get("state") == "offline"
        return False

    async def device(self, name: str) -> dict[str, Any]:
        """Return a device by its name, in ThingsBoard's shape. Raises as `call`."""
        try:
            found: dict[str, Any] = await self.call("GET", f"/api/tenant/devices?deviceName={segment(name)}")
        except CallRefusedError as refused:
            if refused.code != "not_found":
                raise
            text = f'no device named "{name}"'
            raise CallRefusedError(refused.status, {"message": text, "error": refused.code}) from None
        return found

    async def device_id(self, name: str) -> str:
        """Return a device's id. Raises as `call`."""
        return str((await self.device(name))["id"]["id"])

    async def ticks(self, every_s: float) -> AsyncIterator[None]:
        """Yield at once, then after each audit event, and at least every `every_s` seconds."""
        caller = await self._connected()
        self._hears_events = True
        await caller.subscribe(f"{self._root}/events/+/+", qos=0)
        while True:
            yield
            await self._until_something(every_s)

    async def _until_something(self, at_most_s: float) -> None:
        try:
            caller = await self._connected()
            await caller.receive(at_most_s)
            # A burst of events counts as one. The listing that follows shows which: these messages may get lost.
            loop = asyncio.get_running_loop()
            enough = loop.time() + _BURST_S
            while loop.time() < enough:
                await caller.receive(_SETTLED_S)
        except CallTimeoutError:
            pass
        except CallerError:
            await self._drop()
            await asyncio.sleep(at_most_s)


def _parsed(payload: bytes) -> dict[str, Any]:
    try:
        parsed = from_json(payload)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise NotUnderstoodError("the answer is no JSON object: it does not come from claimsvc")
    return parsed
