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
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from claimsvc.broker import packets
from claimsvc.wire import Inbound, Outbound

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

    def __init__(
        self,
        options: ConnectOptions,
        number: int,
        begin: Callable[[Client], None],
        receive: Callable[[Inbound], None],
    ) -> None:
        properties = _properties(PacketTypes.CONNECT)
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
        self._paho = self._client
        self.refused_answers = 0
        """Messages of ours that the broker did not take, most likely by its ACL."""
        self._begin = begin
        self._receive = receive
        self._paused = False
        self._unread = bytearray()
        self._unwritten: list[bytes] = []
        self._last_packet_id = _FIRST_PACKET_ID
        self._unacknowledged = 0
        self._paho.disable_logger()

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
            if self._unacknowledged > _LAST_PACKET_ID - _FIRST_PACKET_ID:
                self.lose("the broker acknowledges nothing")
                return False
            self._unacknowledged += 1
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
            self._writable()

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
            self._flush()
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
            if not self._disconnected.done():
                return doing.result()
            self._disconnected.result()
        finally:
            doing.cancel()
        raise BrokerLostError("the connection ended")

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
            # By now all may be written, or the connection gone and its descriptor somebody else's.
            current = self._paho.socket()
            if current is not None and current is sock and self._paho.want_write():
                self._loop.add_writer(current.fileno(), self._writable)

        self._loop.call_soon_threadsafe(begin)

    def _watch(self, sock: Any) -> None:
        current = self._paho.socket()
        if current is not None and current is sock:
            self._loop.add_reader(current.fileno(), self._readable)

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
        for header, packet in packets.split(self._unread):
            kind = packets.kind(header)
            if kind == packets.PUBLISH:
                self._receive(packets.read_publish(header, packet, self.number, now))
            elif kind == packets.PUBACK:
                self._unacknowledged -= 1
                self.refused_answers += packets.is_refusal(packet)
            elif not self._hand_to_paho(header, packet):
                return False
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
            self.lose("the broker sent what cannot be understood")
            self._paho._loop_rc_handle(failed)  # noqa: SLF001
        return self._paho.socket() is not None

    def _writable(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - likewise to write
            self.lose(f"cannot write: {error}")

    # --- the connection's life

    async def __aenter__(self) -> Self:
        ended = self._disconnected
        try:
            await super().__aenter__()
        except BaseException:
            self._drop_socket()
            raise
        if ended.done():
            self._disconnected = ended  # aiomqtt forgets what ended the connection while it connected
        return self

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
