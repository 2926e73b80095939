"""Minimal REST over MQTT client for the checks."""

from __future__ import annotations

import secrets
from typing import Any

from pydantic_core import from_json, to_json

from claimsvc.dialects.message import Outbound
from claimsvc.immutable import immutable
from claimsvc.mqtt.caller import REFUSED, Caller, CallerError, NotAllowedError


class NotAnsweredError(CallerError):
    """The answer cannot be parsed, or is an error."""


@immutable
class Answer:
    """An answer of the service."""

    status: int
    body: Any

    @property
    def told(self) -> str:
        """Return the status and message of a refusal in one line."""
        body = self.body if isinstance(self.body, dict) else {}
        return f"{self.status} {body.get('message') or body.get('error') or ''}".strip()


class Calls:
    """Calls of one client in the lane of `username`."""

    def __init__(self, caller: Caller, root: str, username: str) -> None:
        self.caller = caller
        self._lane = f"{root}/u/{username}"

    async def ask(
        self, method: str, path: str, body: object = None, *, qos: int = 1, expires_s: int | None = 30
    ) -> Answer:
        """Make a call and return its answer. Raises CallerError.

        The broker discards a request that the service does not receive within `expires_s`. It does not queue a
        request of QoS 0 at all.
        """
        request_id = secrets.token_hex(8)
        answer_topic = f"{self._lane}/response/{request_id}"
        granted = await self.caller.subscribe(answer_topic)
        if granted >= REFUSED:
            raise NotAllowedError(f"subscribe to {answer_topic}", granted)
        payload = b"" if body is None else to_json(body)
        request = Outbound(f"{self._lane}/request/{request_id}/{method}{path}", payload, qos=qos)
        heard = await self.caller.call(request, answer_topic, expires_s=expires_s)
        try:
            answer = from_json(heard.payload)
            return Answer(int(answer["status"]), answer["body"])
        except (ValueError, KeyError, TypeError):
            raise NotAnsweredError(
                f"cannot parse the answer to {method} {path}: it does not come from claimsvc"
            ) from None
