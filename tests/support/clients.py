"""MQTT clients as devices and people use them: paho, 3.1.1 or 5, and the calls tests make over and over."""

from __future__ import annotations

import itertools
import json
import socket
import uuid
from dataclasses import dataclass
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from claimsvc.founding import Account

PATIENCE_S = 20.0
QUIET_S = 0.5
"""How long a client listens before a test says it was told nothing. Only ever bounds a negative."""

_GONE = -1

V311, V5 = paho.MQTTv311, paho.MQTTv5
CLAIM = "v1/devices/me/claim"


@dataclass(frozen=True)
class Answer:
    """An answer to a REST call."""

    status: int
    body: Any


def fresh(stem: str) -> str:
    """Return a name nobody has used: tests of the shared world do not meet."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def correlation_of(message: paho.MQTTMessage) -> bytes | None:
    """Return a message's Correlation Data."""
    found: bytes | None = getattr(message.properties, "CorrelationData", None)
    return found


def _send_at_once(_client: Any, _userdata: Any, sock: Any) -> None:
    """Two small packets in a row would otherwise wait for each other: 40 ms a time."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class LoginRefusedError(Exception):
    """The broker refused the connection."""


class DisconnectedError(Exception):
    """The broker ended the connection."""


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
        address: str = "",
    ) -> None:
        self.username = account.username
        self.inbox: Queue[paho.MQTTMessage] = Queue()
        self._connected: Queue[Any] = Queue()
        self._done: Queue[int] = Queue()
        self._numbers = itertools.count(1)
        self._paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, reconnect_on_failure=False
        )
        self._paho.username_pw_set(account.username, account.password)
        self._paho.max_inflight_messages_set(0)
        if will:
            self._paho.will_set(*will, qos=1)
        self._paho.on_connect = lambda _c, _u, _f, reason, _p: self._connected.put(reason)
        self._paho.on_message = lambda _c, _u, message: self.inbox.put(message)
        self._paho.on_subscribe = lambda _c, _u, mid, _r, _p: self._done.put(mid)
        self._paho.on_socket_open = _send_at_once
        self.disconnected: Queue[Any] = Queue()
        self._paho.on_disconnect = self._on_disconnect
        self._paho.connect("127.0.0.1", port, bind_address=address)
        self._paho.loop_start()
        reason = self._connected.get(timeout=PATIENCE_S)
        if reason.is_failure:
            self.close()
            raise LoginRefusedError(str(reason))

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.disconnected.put(reason)
        self._done.put(_GONE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()

    def vanish(self) -> None:
        """Drop the connection without goodbye, which makes the broker publish the will."""
        sock: Any = self._paho.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self.disconnected.get(timeout=PATIENCE_S)

    # --- the protocol

    def lane(self, tail: str) -> str:
        return f"claimsvc/u/{self.username}/{tail}"

    def subscribe(self, *topics: str, qos: int = 1) -> None:
        for topic in topics:
            _, wanted = self._paho.subscribe(topic, qos)
            while (done := self._done.get(timeout=PATIENCE_S)) != wanted:
                if done == _GONE:
                    raise DisconnectedError

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

    def drain(self) -> list[paho.MQTTMessage]:
        """Return what has arrived by now. After a round trip of its own a client has what was sent before."""
        found: list[paho.MQTTMessage] = []
        while not self.inbox.empty():
            found.append(self.inbox.get())
        return found

    def hears_nothing(self) -> bool:
        """Return whether nothing arrives; a round trip first flushes what was on its way."""
        try:
            message = self.inbox.get(timeout=QUIET_S)
        except Empty:
            return True
        raise AssertionError(f"{self.username} received {message.topic}: {message.payload!r}")

    def attempts(self, topic: str, payload: bytes = b"", **options: Any) -> bool:
        """Publish what should be denied; return whether the connection stands once the broker has read it."""
        self.publish(topic, payload, wait=False, **options)
        try:
            self.subscribe("claimsvc/status")
        except DisconnectedError:
            return False
        return True

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


class Admin(Client):
    """A tenant admin, and what tests have an admin make."""

    def device_id(self, name: str) -> str:
        answer = self.call("GET", f"/api/tenant/devices?deviceName={quote(name, safe='')}")
        assert answer.status == 200, answer
        return str(answer.body["id"]["id"])

    def make_device(self, name: str) -> Account:
        """Make a device with username and password and return its login."""
        answer = self.call("POST", "/api/device", {"name": name})
        assert answer.status == 200, answer
        given = self.call("GET", f"/api/device/{answer.body['id']['id']}/credentials").body
        login = json.loads(given["credentialsValue"])
        return Account(login["userName"], login["password"])

    def make_gateway(self, name: str) -> Account:
        answer = self.call("POST", "/claimsvc/gateways", {"name": name})
        assert answer.status == 201, answer
        return Account(answer.body["principal"], answer.body["password"])

    def make_customer(self, title: str = "A customer") -> str:
        answer = self.call("POST", "/claimsvc/customers", {"title": title})
        assert answer.status == 201, answer
        return str(answer.body["id"])

    def make_user(self, username: str, **fields: Any) -> Account:
        answer = self.call("POST", "/claimsvc/users", {"username": username, **fields})
        assert answer.status == 201, answer
        return Account(answer.body["principal"], answer.body["password"])

    def make_claimer(self, username: str) -> Account:
        """Make a user who may claim, for a customer of that user's own."""
        return self.make_user(username, customerId=self.make_customer(username), roles=["customer"])

    def customer_of(self, username: str) -> str:
        return str(self.call("GET", f"/claimsvc/users/{quote(username, safe='')}").body["customerId"])

    def set_attributes(self, device: str, attributes: dict[str, Any]) -> Answer:
        path = f"/api/plugins/telemetry/DEVICE/{self.device_id(device)}/attributes/SERVER_SCOPE"
        return self.call("POST", path, attributes)

    def users(self) -> list[dict[str, Any]]:
        """Return all users, page by page."""
        found: list[dict[str, Any]] = []
        path = "/claimsvc/users?limit=7"
        while path:
            page = self.call("GET", path).body
            assert len(page["users"]) <= 7
            found += page["users"]
            path = page.get("next")
        return found

    def events(self, device: str) -> list[str]:
        """Return the names of a device's audit events, newest first."""
        found = self.call("GET", f"/claimsvc/events?device={quote(device, safe='')}&limit=1000").body
        return [event["event"] for event in found["events"]]


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
