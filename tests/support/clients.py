"""MQTT clients as devices and people use them: paho, 3.1.1 or 5, and the calls tests make over and over."""

from __future__ import annotations

import itertools
import json
import uuid
from dataclasses import dataclass
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from claimsvc.founding import Account

PATIENCE_S = 20.0
QUIET_S = 0.5
"""How long a client listens before a test says it was told nothing. Only ever bounds a negative."""

V311, V5 = paho.MQTTv311, paho.MQTTv5
CLAIM = "v1/devices/me/claim"


@dataclass(frozen=True)
class Answer:
    """An answer to a REST call."""

    status: int
    body: Any


class LoginRefusedError(Exception):
    """The broker refused the connection."""


class Client:
    """One connected MQTT client; what it receives waits in `inbox`."""

    def __init__(
        self,
        port: int,
        account: Account,
        *,
        version: Any = V5,
        client_id: str = "",
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.username = account.username
        self.inbox: Queue[paho.MQTTMessage] = Queue()
        self._connected: Queue[Any] = Queue()
        self._done: Queue[int] = Queue()
        self._numbers = itertools.count(1)
        self._paho = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
        self._paho.username_pw_set(account.username, account.password)
        self._paho.max_inflight_messages_set(0)
        if will:
            self._paho.will_set(*will, qos=1)
        self._paho.on_connect = lambda _c, _u, _f, reason, _p: self._connected.put(reason)
        self._paho.on_message = lambda _c, _u, message: self.inbox.put(message)
        self._paho.on_subscribe = lambda _c, _u, mid, _r, _p: self._done.put(mid)
        self.disconnected: Queue[Any] = Queue()
        self._paho.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(reason)
        self._paho.connect("127.0.0.1", port)
        self._paho.loop_start()
        reason = self._connected.get(timeout=PATIENCE_S)
        if reason.is_failure:
            self.close()
            raise LoginRefusedError(str(reason))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()

    # --- the protocol

    def lane(self, tail: str) -> str:
        return f"claimsvc/u/{self.username}/{tail}"

    def subscribe(self, *topics: str, qos: int = 1) -> None:
        for topic in topics:
            _, wanted = self._paho.subscribe(topic, qos)
            while self._done.get(timeout=PATIENCE_S) != wanted:
                pass

    def publish(
        self,
        topic: str,
        payload: bytes | str | None = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        wait: bool = True,
        **properties: Any,
    ) -> paho.MQTTMessageInfo:
        stated = None
        if properties:
            stated = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            for name, value in properties.items():
                setattr(stated, name, value)
        info = self._paho.publish(topic, payload, qos, retain, stated)
        if wait and qos:
            info.wait_for_publish(PATIENCE_S)
        return info

    def receive(self, timeout_s: float = PATIENCE_S) -> paho.MQTTMessage:
        try:
            return self.inbox.get(timeout=timeout_s)
        except Empty:
            raise AssertionError(f"{self.username} received nothing") from None

    def hears_nothing(self) -> bool:
        """Return whether nothing arrives; a round trip first flushes what was on its way."""
        try:
            message = self.inbox.get(timeout=QUIET_S)
        except Empty:
            return True
        raise AssertionError(f"{self.username} received {message.topic}: {message.payload!r}")

    # --- devices and gateways

    def open_window(self, body: Any = None, *, topic: str = CLAIM, qos: int = 1) -> dict[str, Any]:
        """Publish a claim message and return the answer."""
        self.subscribe(self.lane(f"{CLAIM}/response"))
        self.publish(self.lane(topic), _bytes(body), qos=qos)
        return self._json(f"{CLAIM}/response")

    def open_windows(self, body: Any) -> dict[str, Any]:
        """Publish a gateway's claim message and return the answer."""
        self.subscribe(self.lane("v1/gateway/claim/response"))
        self.publish(self.lane("v1/gateway/claim"), _bytes(body))
        return self._json("v1/gateway/claim/response")

    def _json(self, tail: str) -> dict[str, Any]:
        while True:
            message = self.receive()
            if message.topic == self.lane(tail):
                answer: dict[str, Any] = json.loads(message.payload)
                return answer

    # --- REST over MQTT

    def call(self, method: str, path: str, body: Any = None, *, request_id: str | None = None) -> Answer:
        """Make a call and return its answer. `path` begins with a slash and is encoded already."""
        request_id = request_id or f"r{next(self._numbers)}-{uuid.uuid4().hex[:8]}"
        self.subscribe(self.lane(f"response/{request_id}"))
        self.publish(self.lane(f"request/{request_id}/{method}{path}"), _bytes(body))
        while True:
            message = self.receive()
            if message.topic == self.lane(f"response/{request_id}"):
                answer = json.loads(message.payload)
                return Answer(answer["status"], answer["body"])

    def claim(self, device: str, key: Any = "value", **more: Any) -> Answer:
        return self.call("POST", f"/api/customer/device/{device}/claim", {"secretKey": key}, **more)

    def release(self, device: str, **more: Any) -> Answer:
        return self.call("DELETE", f"/api/customer/device/{device}/claim", **more)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
