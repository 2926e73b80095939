"""aiomqtt's client with what this service needs of paho: whole reads, whole writes, acknowledgement by hand.

paho connects, subscribes, keeps alive and disconnects. Messages and acknowledgements, of which there are
thousands a second, are read by us many at a time and written once per turn of the event loop: paho reads a byte
at a time and spends five times what the rest of a request costs. Everything that reaches into the two libraries
stands in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from claimsvc.dialects.message import Inbound, Outbound
from claimsvc.immutable import immutable
from claimsvc.mqtt import packets
from claimsvc.mqtt.connection import BrokerLostError, Connection, properties_for

LARGEST_PACKET = 268_435_455
_LONGEST_TOPIC = 65_535
_WIDEST_CHARACTER = 4
_READ_BYTES = 256 * 1024
_FIRST_PACKET_ID, _LAST_PACKET_ID = 2, 65_535
"""1 is the subscription's, which the client library sends."""
_LARGEST_READ = 32 * 1024 * 1024
"""Larger packets the broker keeps to itself; well above the largest request there is."""
_DRAIN_S = 5.0
_TAKEN_OVER = 0x8E
_REFUSED = 0x80


class SilentlyClosedError(BrokerLostError):
    """The broker closed the connection without a word."""


class TakenOverError(BrokerLostError):
    """Somebody else connected with our client id, which nobody else should know."""


@immutable(kw_only=True)
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


class Client(Connection):
    """One connection. `number` tells it from the ones before and after it."""

    def __init__(
        self,
        options: ConnectOptions,
        number: int,
        begin: Callable[[Client], None],
        receive: Callable[[Inbound], None],
        acknowledged: Callable[[], None],
    ) -> None:
        properties = properties_for(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = options.session_expiry_s
        properties.ReceiveMaximum = options.receive_maximum
        properties.MaximumPacketSize = _LARGEST_READ
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
        self.refused_answers = 0
        """Messages of ours that the broker did not take, most likely by its ACL."""
        self._begin = begin
        self._receive = receive
        self._acknowledged = acknowledged
        self._paused = False
        self._unread = bytearray()
        self._unwritten: list[bytes] = []
        self._last_packet_id = _FIRST_PACKET_ID
        self.unacknowledged = 0
        """Messages of QoS 1 that were sent and that the broker has not acknowledged."""
        self.silent_since = 0.0
        """When the broker last acknowledged, or the first waiting message was sent. Seconds, monotonic."""

    # --- what the session uses

    async def subscribe_all(self, filters: Sequence[str]) -> list[str]:
        """Subscribe at QoS 1; returns the filters granted less. Raises BrokerLostError for a refused one."""
        options = SubscribeOptions(qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        granted = await self.unless_ended(self.subscribe([(topic, options) for topic in filters]))
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
        beside = packets.PACKET_HEAD + len(outbound.correlation or b"") + len(outbound.payload)
        most = len(outbound.topic) * _WIDEST_CHARACTER
        topic = (
            most if most <= _LONGEST_TOPIC and beside + most <= self.largest_packet else len(outbound.topic.encode())
        )
        return topic <= _LONGEST_TOPIC and beside + topic <= self.largest_packet

    def send(self, outbound: Outbound) -> bool:
        """Queue a message. A connection that cannot take it is given up, and False returned."""
        if self._paho.socket() is None:
            self.lose("cannot publish: the connection is gone")
            return False
        if outbound.qos:
            if self.unacknowledged > _LAST_PACKET_ID - _FIRST_PACKET_ID:
                self.lose("the broker acknowledges nothing")
                return False
            if not self.unacknowledged:
                self.silent_since = time.monotonic()
            self.unacknowledged += 1
            self._last_packet_id += 1
            if self._last_packet_id > _LAST_PACKET_ID:
                self._last_packet_id = _FIRST_PACKET_ID
        self._write(packets.write_publish(outbound, self._last_packet_id))
        return True

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgement, behind the answers queued before it."""
        self._write(packets.write_puback(packet_id))

    def _write(self, packet: bytes) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(packet)

    def _flush(self) -> None:
        """Hand everything of this turn to paho as one packet of no kind; it writes what the socket takes."""
        if not self._unwritten:
            return
        joined = b"".join(self._unwritten)
        self._unwritten.clear()
        if self._paho.socket() is not None:
            # Not by its own function, which asks for a writable socket first: that one is nearly always.
            self._paho._out_packet.append(  # noqa: SLF001 - see the top of this file
                {
                    "command": 0,
                    "mid": 0,
                    "qos": 0,
                    "pos": 0,
                    "to_process": len(joined),
                    "packet": joined,
                    "info": None,
                }
            )
            try:
                self._paho.loop_write()
            except Exception as error:  # noqa: BLE001 - any failure to write ends the connection
                self.lose(f"cannot write: {error}")

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
            self._flush()
            self._paho.disconnect()
            with contextlib.suppress(TimeoutError, OSError, aiomqtt.MqttError, BrokerLostError):
                async with asyncio.timeout(_DRAIN_S):
                    await self.ended()
                    while await self._loop.sock_recv(duplicate, 65_536):
                        pass

    # --- receiving

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
        if not reason_code.is_failure:
            self._begin(self)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if self._is_accepted and not self._disconnected.done() and reason_code.is_failure:
            if reason_code.value == _TAKEN_OVER:
                self._disconnected.set_exception(TakenOverError("another client connected with our client id"))
            elif not flags.is_disconnect_packet_from_server:
                self._disconnected.set_exception(SilentlyClosedError("the broker closed the connection"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _readable(self) -> None:
        try:
            while not self._paused:
                sock = self._paho.socket()
                if sock is None or not self._read(sock):
                    return
                if not isinstance(sock, ssl.SSLSocket) or sock.pending() == 0:
                    return
        except Exception as error:  # noqa: BLE001 - as aiomqtt: any failure to read ends the connection
            self.lose(f"cannot read: {error}")

    def _read(self, sock: Any) -> bool:
        """Read what has come, at most one buffer full; returns False where there is no more to read."""
        try:
            data = sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            data = b""
        if not data:
            self._paho._loop_rc_handle(paho.MQTT_ERR_CONN_LOST)  # noqa: SLF001 - what its own reading does
            return False
        now = time.monotonic()
        self._paho._last_bytes_received = now  # noqa: SLF001 - for its keep-alive
        self._unread += data
        before = self.unacknowledged
        for header, packet in packets.split(self._unread):
            kind = packets.kind(header)
            if kind == packets.PUBLISH:
                self._receive(packets.read_publish(header, packet, self.number, now))
            elif kind == packets.PUBACK:
                self.unacknowledged -= 1
                self.refused_answers += packets.is_refusal(packet)
            elif not self._hand_to_paho(header, packet):
                return False
        if self.unacknowledged < before:
            self.silent_since = now
            self._acknowledged()
        return True

    def _hand_to_paho(self, header: int, packet: bytes) -> bool:
        """Have paho handle a packet as if it had read it; returns False where that ended the connection."""
        self._paho._in_packet = {  # noqa: SLF001 - see the top of this file
            "command": header,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(packet),
            "packet": bytearray(packet),
            "to_process": 0,
            "pos": 0,
        }
        try:
            failed = self._paho._packet_handle()  # noqa: SLF001
        except MalformedPacket:
            failed = paho.MQTT_ERR_PROTOCOL
        if failed:
            self.lose("the broker sent what cannot be understood")  # a refused login has failed already
            self._paho._loop_rc_handle(failed)  # noqa: SLF001
        return self._paho.socket() is not None
