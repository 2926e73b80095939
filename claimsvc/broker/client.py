"""aiomqtt's client with what this service needs of paho: messages handed straight on and acknowledged by hand.

Everything that reaches into the two libraries stands in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from claimsvc.wire import Inbound, Outbound, Receipt

LARGEST_PACKET = 268_435_455
_LONGEST_TOPIC = 65_535
_PACKET_HEAD = 32
"""At most what a PUBLISH takes beside topic, correlation and payload."""
_DRAIN_S = 5.0
_TAKEN_OVER = 0x8E
_REFUSED = 0x80
_STAMP = "received-at"
_LONGEST_STAMP = 15

# Properties of a PUBLISH (MQTT 5, 2.2.2.2): the ones wanted, and how long the others are.
_RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER_PROPERTY = 0x08, 0x09, 0x0B, 0x26
_FIXED_LENGTHS = {0x01: 1, 0x02: 4, 0x23: 2}


class BrokerLostError(Exception):
    """The connection is gone. What was not acknowledged on it comes again."""


class SilentlyClosedError(BrokerLostError):
    """The broker closed the connection without a word."""


class TakenOverError(BrokerLostError):
    """Somebody else connected with our client id, which nobody else should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """Where to connect and as whom."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive_s: int
    session_expiry_s: int
    receive_maximum: int
    will: Outbound


class Client(aiomqtt.Client):
    """One connection. `number` tells it from the ones before and after it."""

    def __init__(self, options: ConnectOptions, number: int, receive: Callable[[Inbound], None]) -> None:
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = options.session_expiry_s
        properties.ReceiveMaximum = options.receive_maximum
        super().__init__(
            options.host,
            options.port,
            identifier=options.client_id,
            username=options.username,
            password=options.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=properties,
            keepalive=options.keepalive_s,
            tls_context=options.tls,
            will=aiomqtt.Will(options.will.topic, options.will.payload, qos=1, retain=True),
            max_inflight_messages=0,  # unlimited: else acknowledgements overtake queued answers
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self.number = number
        self.session_present = False
        self.largest_packet = LARGEST_PACKET
        self._paho = self._client
        self._receive = receive
        self._paused = False
        self._paho.manual_ack_set(True)
        # Nobody waits for an answer's own acknowledgement, nor reads a line per packet.
        self._paho.on_publish = None
        self._paho.disable_logger()
        self._paho.on_message = self._on_paho_message
        self._handle_publish = self._paho._handle_publish  # noqa: SLF001 - see _read_publish
        self._paho._handle_publish = self._read_publish  # type: ignore[method-assign]  # noqa: SLF001

    # --- what the session uses

    async def subscribe_all(self, filters: Sequence[str]) -> list[str]:
        """Subscribe at QoS 1; returns the filters granted less. Raises BrokerLostError for a refused one."""
        options = SubscribeOptions(qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        granted = await self._unless_ended(self.subscribe([(topic, options) for topic in filters]))
        lesser: list[str] = []
        for topic, code in zip(filters, granted, strict=True):
            value = code.value if isinstance(code, ReasonCode) else code
            if value >= _REFUSED:
                raise BrokerLostError(f"the broker refuses the subscription {topic}: {code}")
            if value == 0:
                lesser.append(topic)
        return lesser

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker takes this message; it would cut the connection at one it does not."""
        topic = len(outbound.topic.encode())
        size = _PACKET_HEAD + topic + len(outbound.correlation or b"") + len(outbound.payload)
        return topic <= _LONGEST_TOPIC and size <= self.largest_packet

    def send(self, outbound: Outbound) -> bool:
        """Queue a message. A connection that cannot take it is given up, and False returned."""
        properties = None
        if outbound.correlation is not None:
            properties = _properties(PacketTypes.PUBLISH)
            properties.CorrelationData = outbound.correlation
        sent = self._paho.publish(outbound.topic, outbound.payload, outbound.qos, outbound.retain, properties)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            self.lose(f"cannot publish: {paho.error_string(sent.rc)}")
        return sent.rc == paho.MQTT_ERR_SUCCESS

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgement, behind the answers queued before it."""
        self._paho.ack(packet_id, 1)

    def lose(self, why: str) -> None:
        """Give the connection up."""
        if not self._disconnected.done():
            self._disconnected.set_exception(BrokerLostError(why))

    async def ended(self) -> None:
        """Wait for the end of the connection; raises its cause unless we ended it."""
        await asyncio.shield(self._disconnected)

    async def leave(self) -> None:
        """Write everything out, disconnect, and read until the broker has closed.

        Closing with unread input makes the kernel reset the connection, and the broker would throw our last
        acknowledgements away. The duplicate keeps the connection open after paho has closed its side.
        """
        sock = self._paho.socket()
        if sock is None:
            return
        with socket.socket(fileno=os.dup(sock.fileno())) as duplicate:
            duplicate.setblocking(False)
            self.pause()
            self._paho.disconnect()
            with contextlib.suppress(TimeoutError, OSError, aiomqtt.MqttError, BrokerLostError):
                async with asyncio.timeout(_DRAIN_S):
                    await self.ended()
                    while await self._loop.sock_recv(duplicate, 65_536):
                        pass

    async def _unless_ended(self, work: Any) -> Any:
        """Await `work`, or raise what ended the connection first; aiomqtt would wait for its timeout."""
        doing = asyncio.ensure_future(work)
        try:
            await asyncio.wait({doing, self._disconnected}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            self._disconnected.result()
        finally:
            doing.cancel()
        raise BrokerLostError("the connection ended")

    # --- receiving

    def _on_paho_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        stated = vars(message.properties) if message.properties is not None else {}
        self._receive(
            Inbound(
                topic=message.topic,
                payload=bytes(message.payload),
                receipt=Receipt(self.number, message.mid, message.qos),
                arrived=time.monotonic(),
                redelivered=bool(message.dup),
                response_topic=stated.get("ResponseTopic"),
                correlation=stated.get("CorrelationData"),
                received_at_ms=_stamp(stated.get("UserProperty", ())),
            )
        )

    def _read_publish(self) -> Any:
        """Read a PUBLISH that paho cannot read, leniently, instead of losing the connection.

        paho takes some characters that brokers pass on for a malformed packet. The message would come again
        after each reconnect, for ever.
        """
        try:
            return self._handle_publish()
        except Exception:  # noqa: BLE001 - whatever a stranger's properties make paho raise
            packet = self._paho._in_packet  # noqa: SLF001 - what was read and could not be understood
            self._receive(_read_leniently(packet["command"], bytes(packet["packet"]), self.number))
            return paho.MQTT_ERR_SUCCESS

    def pause(self) -> None:
        """Read nothing more."""
        sock = self._paho.socket()
        if sock is not None and not self._paused:
            self._paused = True
            self._loop.remove_reader(sock.fileno())

    def resume(self) -> None:
        """Read on."""
        sock = self._paho.socket()
        if sock is not None and self._paused:
            self._paused = False
            self._watch(sock)
            self._loop.call_soon(self._readable)  # TLS may hold bytes that no reader event announces

    # --- paho's callbacks, where aiomqtt's own are not enough

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.session_present = flags.session_present
        self.largest_packet = vars(properties).get("MaximumPacketSize", LARGEST_PACKET)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        connected = self._connected.done() and self._connected.exception() is None
        if connected and not self._disconnected.done() and reason_code.is_failure:
            if reason_code.value == _TAKEN_OVER:
                self._disconnected.set_exception(TakenOverError("another client connected with our client id"))
            elif not flags.is_disconnect_packet_from_server:
                self._disconnected.set_exception(SilentlyClosedError("the broker closed the connection"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        def begin() -> None:
            self._watch(sock)
            self._misc_task = self._loop.create_task(self._misc_loop(), name="mqtt keep-alive")

        self._loop.call_soon_threadsafe(begin)  # paho connects in a thread of aiomqtt's

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        def begin() -> None:
            # By now the connection may be gone, and its descriptor somebody else's.
            current = self._paho.socket()
            if current is not None and current is sock:
                self._loop.add_writer(current.fileno(), self._writable)

        self._loop.call_soon_threadsafe(begin)

    def _watch(self, sock: Any) -> None:
        current = self._paho.socket()
        if current is not None and current is sock:
            self._loop.add_reader(current.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            while not self._paused:
                self._paho.loop_read()
                sock = self._paho.socket()
                if not isinstance(sock, ssl.SSLSocket) or sock.pending() == 0:
                    return
        except Exception as error:  # noqa: BLE001 - as aiomqtt: any failure to read ends the connection
            self.lose(f"cannot read: {error}")

    def _writable(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - likewise to write
            self.lose(f"cannot write: {error}")

    # --- the connection's life

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            self._drop_socket()
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc, tb)
        finally:
            self._drop_socket()

    def _drop_socket(self) -> None:
        """Close the socket whatever ended the connection; aiomqtt leaves it open after an error."""
        self._paho._sock_close()  # noqa: SLF001 - paho cannot publicly drop a connection without DISCONNECT


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]


def _stamp(user_properties: Sequence[tuple[str, str]]) -> int | None:
    """Return when the broker's plugin saw the message; the last stamp counts, the plugin adds it last."""
    stamps = [value for name, value in user_properties if name == _STAMP]
    if not stamps or not stamps[-1].isascii() or not stamps[-1].isdigit() or len(stamps[-1]) > _LONGEST_STAMP:
        return None
    return int(stamps[-1])


def _read_leniently(header: int, packet: bytes, connection: int) -> Inbound:
    """Return the message of a PUBLISH packet (MQTT 5, 3.3); a text that cannot be read is passed over."""
    qos = header >> 1 & 3
    (topic_length,) = struct.unpack_from("!H", packet)
    at = 2 + topic_length
    topic = packet[2:at].decode(errors="replace")
    packet_id = 0
    if qos:
        (packet_id,) = struct.unpack_from("!H", packet, at)
        at += 2
    length, at = _varint(packet, at)
    found = _properties_of(packet, at, at + length)
    return Inbound(
        topic=topic,
        payload=packet[at + length :],
        receipt=Receipt(connection, packet_id, qos),
        arrived=time.monotonic(),
        redelivered=bool(header & 8),
        response_topic=_text(found.get(_RESPONSE_TOPIC)),
        correlation=found.get(_CORRELATION),
    )


def _properties_of(packet: bytes, at: int, end: int) -> dict[int, bytes]:
    """Return the properties of a PUBLISH with their bytes (MQTT 5, 2.2.2.2); user properties are left out."""
    found: dict[int, bytes] = {}
    while at < end:
        name, at = packet[at], at + 1
        if name == _SUBSCRIPTION:
            _, at = _varint(packet, at)
        elif name in _FIXED_LENGTHS:
            at += _FIXED_LENGTHS[name]
        else:
            for _ in range(2 if name == _USER_PROPERTY else 1):
                (length,) = struct.unpack_from("!H", packet, at)
                found[name] = packet[at + 2 : at + 2 + length]
                at += 2 + length
    return found


def _varint(packet: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (packet[at] & 0x7F) << shift
        at, shift, more = at + 1, shift + 7, packet[at] & 0x80
        if not more:
            return value, at


def _text(raw: bytes | None) -> str | None:
    try:
        return raw.decode() if raw is not None else None
    except UnicodeDecodeError:
        return None
