"""Clients that say exactly what a test of the plugin wants them to say, and the service, played by the test."""

from __future__ import annotations

from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.clients import PATIENCE_S, V5, Client, LoginRefusedError

SERVICE_ID = "claimsvc-" + "0123456789abcdef" * 2
STAMP = "received-at"


@dataclass(frozen=True)
class Will:
    """What a client leaves behind."""

    topic: str
    payload: bytes = b"will"
    qos: int = 1
    retain: bool = False
    delay_s: int = 0
    stamp: str | None = None


class Peer(Client):
    """A client that says exactly what a test wants it to say."""

    def __init__(  # noqa: PLR0913 - CONNECT has that many parts
        self,
        port: int,
        username: str | None,
        password: str | None = None,
        *,
        version: Any = V5,
        client_id: str = "",
        clean: bool = True,
        expiry_s: int = 0,
        will: Will | None = None,
        manual_ack: bool = False,
        address: str = "",
    ) -> None:
        self.username = username or ""
        self.inbox: Queue[paho.MQTTMessage] = Queue()
        self.disconnected: Queue[Any] = Queue()
        self.granted: Queue[list[int]] = Queue()
        self._connected: Queue[Any] = Queue()
        self._done: Queue[int] = Queue()
        self._version = version
        self._paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            clean_session=None if version == V5 else clean,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        if username is not None:
            self._paho.username_pw_set(username, password)
        self._paho.max_inflight_messages_set(0)
        self._set_will(will)
        self._paho.on_connect = self._on_connect
        self._paho.on_message = lambda _c, _u, message: self.inbox.put(message)
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_disconnect = self._on_disconnect
        self.client_id = client_id
        self.session_present = False
        self._connect(port, clean, expiry_s, address)

    def _set_will(self, will: Will | None) -> None:
        if will is None:
            return
        properties = None
        if self._version == V5:
            properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
            if will.delay_s:
                properties.WillDelayInterval = will.delay_s
            if will.stamp:
                properties.UserProperty = [(STAMP, will.stamp)]
        self._paho.will_set(will.topic, will.payload, will.qos, will.retain, properties)

    def _connect(self, port: int, clean: bool, expiry_s: int, address: str) -> None:  # noqa: FBT001 - as CONNECT's flag
        if self._version == V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = expiry_s
            self._paho.connect("127.0.0.1", port, bind_address=address, clean_start=clean, properties=properties)
        else:
            self._paho.connect("127.0.0.1", port, bind_address=address)
        self._paho.loop_start()
        try:
            reason = self._connected.get(timeout=PATIENCE_S)
        except Empty:
            reason = None
        if reason is None or reason.is_failure:
            self.close()
            raise LoginRefusedError(str(reason))

    def _on_connect(self, _c: Any, _u: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.session_present = flags.session_present
        self.client_id = getattr(properties, "AssignedClientIdentifier", self.client_id)
        self._connected.put(reason)

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self._connected.put(None)
        self.disconnected.put(reason)
        self._done.put(-1)

    def _on_subscribe(self, _c: Any, _u: Any, mid: int, codes: Any, _p: Any) -> None:
        self.granted.put([int(getattr(code, "value", code)) for code in codes])
        self._done.put(mid)

    def asks_for(self, topic: str, qos: int = 1) -> bool:
        """Subscribe; return whether the broker agreed."""
        while not self.granted.empty():
            self.granted.get()
        self.subscribe(topic, qos=qos)
        return self.granted.get(timeout=PATIENCE_S)[0] < 0x80

    def unsubscribe(self, topic: str) -> list[int]:
        """Unsubscribe; return the broker's codes (MQTT 5)."""
        done: Queue[list[int]] = Queue()
        self._paho.on_unsubscribe = lambda _c, _u, _m, codes, _p: done.put([int(code.value) for code in codes])
        self._paho.unsubscribe(topic)
        return done.get(timeout=PATIENCE_S)

    def says(self, topic: str, payload: bytes = b"hello", **options: Any) -> int:
        """Publish at QoS 1 and return the broker's reason code (MQTT 5)."""
        done: Queue[int] = Queue()
        self._paho.on_publish = lambda _c, _u, _m, code, _p: done.put(int(code.value))
        self.publish(topic, payload, qos=1, **options)
        return done.get(timeout=PATIENCE_S)

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        """Acknowledge a message of a client that does so by hand."""
        self._paho.ack(message.mid, message.qos)

    def trip(self) -> None:
        """Return when the broker has handled what this client sent, and it has what the broker sent before."""
        self.subscribe("claimsvc/status")

    def hears(self) -> list[str]:
        """Return the topics that have come by now."""
        self.trip()
        self.trip()  # what a plugin publishes is handed over when the broker's loop turns, that is before this
        return [message.topic for message in self.drain()]


class Play(Peer):
    """The service, played by the test: it sees all lanes and answers into them."""

    def __init__(self, port: int, **options: Any) -> None:
        super().__init__(port, "claimsvc", "service-password", client_id=SERVICE_ID, **options)
        self._paho.subscribe("claimsvc/#", options=SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True))
        self._done.get(timeout=PATIENCE_S)

    def disconnect_principal(self, *principals: str) -> None:
        """Ask the broker to disconnect whoever is logged in as these."""
        self.publish("$CONTROL/claimsvc/v1", "".join(f"disconnect {name}\n" for name in principals))


def stamps(message: paho.MQTTMessage) -> list[str]:
    """Return the values of the stamp on a message."""
    pairs = getattr(message.properties, "UserProperty", [])
    return [value for name, value in pairs if name == STAMP]
