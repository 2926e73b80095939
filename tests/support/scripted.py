"""A service that says what a test wants it to: it answers calls at a real broker, and remembers them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty
from types import TracebackType
from typing import Any, Self

from claimsvc.app import broker_password
from claimsvc.founding import Account
from tests.support.clients import Client
from tests.support.processes import World


@dataclass(frozen=True)
class Call:
    """One call as it came."""

    request_id: str
    method: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Told:
    """What is published on an answer's topic, or below it."""

    payload: object
    below: str = ""


def answer(status: int, body: object) -> Told:
    """Return an answer."""
    return Told({"status": status, "body": body})


def progress(**fields: object) -> Told:
    """Return what is told of a long call on its way."""
    return Told(fields, "/progress")


Answers = Callable[[Call], Iterable[Told]]


class ScriptedService:
    """Answers every call by `answers`; none for a call is silence."""

    def __init__(self, world: World, answers: Answers) -> None:
        settings = world.settings
        account = Account(settings.mqtt.username, broker_password(settings))
        self._client = Client(world.port, account)
        self._answers = answers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted service")
        self.calls: list[Call] = []

    def __enter__(self) -> Self:
        self._client.subscribe("claimsvc/u/+/request/#")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def say(self, state: str) -> None:
        """Say whether the service is there, as it does itself."""
        self._client.publish("claimsvc/status", json.dumps({"state": state}), retain=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._client.inbox.get(timeout=0.05)
            except Empty:
                continue
            _, _, user, _, request_id, method, path = message.topic.split("/", 6)
            call = Call(request_id, method, f"/{path}", bytes(message.payload))
            self.calls.append(call)
            for told in self._answers(call):
                topic = f"claimsvc/u/{user}/response/{request_id}{told.below}"
                payload: Any = told.payload
                content = payload if isinstance(payload, bytes) else json.dumps(payload)
                self._client.publish(topic, content, wait=False)
