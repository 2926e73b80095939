"""An experiment, not the product: claimsvc with its MQTT client replaced by one on the sans-I/O codec `mqtt5`.

scripts/bench --experiment

Everything but the connection is the product's: settings, store, pipeline, session. The client below stands on an
asyncio.Protocol. It parses whatever one read brought, and writes once per turn of the event loop.

It covers what the session asks for: TLS, keep-alive, will, QoS 1 both ways, the broker's Receive Maximum and
Maximum Packet Size, packets the codec cannot read. It does not cover MQTT 3.1.1, inbound QoS 2, topic aliases,
AUTH, redirection to another server, proxies and WebSockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import mqtt5
import typer

from claimsvc.broker import packets, session
from claimsvc.broker.client import (
    LARGEST_PACKET,
    BrokerLostError,
    ConnectOptions,
    SilentlyClosedError,
    TakenOverError,
)
from claimsvc.broker.packets import PACKET_HEAD
from claimsvc.cli.service import serve_command
from claimsvc.wire import Inbound, Outbound, Receipt

T = TypeVar("T")

PATIENCE_S = 10.0
DRAIN_S = 5.0
LONGEST_TOPIC = 65_535
PACKET_IDS = 65_535
QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)
PING = mqtt5.PingReqPacket().write()
LESSER = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE
REFUSED = 0x80
MORE = 0x80
"""In a byte of a packet's length: another one follows."""
STAMP = "received-at"


class Client(asyncio.Protocol):
    """One connection, with the methods of the product's client. `number` tells it from those around it."""

    def __init__(
        self,
        options: ConnectOptions,
        number: int,
        begin: Callable[[Client], None],
        receive: Callable[[Inbound], None],
    ) -> None:
        self.number = number
        self.session_present = False
        self.largest_packet = LARGEST_PACKET
        self.refused_answers = 0
        """Messages of ours that the broker did not take, most likely by its ACL."""
        self._options = options
        self._begin = begin
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] = self._loop.create_future()
        self._suback: asyncio.Future[mqtt5.SubAckPacket] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._leaving = False
        self._unread = bytearray()
        self._known = False
        """Whether the session has taken us; until then what follows CONNACK waits, or its answers had no way out."""
        self._paused = False
        self._unwritten: deque[tuple[int, bytes]] = deque()
        """Packets in the order they must go, each with the packet id for which a PUBACK will come, or 0."""
        self._flushing = False
        self._packet_ids = itertools.cycle(range(1, PACKET_IDS + 1))
        self._pending: set[int] = set()
        self._in_flight = 0
        self._most_in_flight = PACKET_IDS
        self._ping_every_s = 0.0
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None

    # --- what the session uses

    async def subscribe_all(self, filters: Sequence[str]) -> list[str]:
        """Subscribe at QoS 1; returns the filters granted less. Raises BrokerLostError for a refused one."""
        self._known = True
        self._begin(self)
        self._parse()
        wanted = [
            mqtt5.TopicFilter(
                topic,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                no_local=True,
                retain_as_published=False,
                retain_handling=mqtt5.RetainHandling.SEND_NEVER,
            )
            for topic in filters
        ]
        self._put(mqtt5.SubscribePacket(self._next_packet_id(), wanted).write())
        async with asyncio.timeout(PATIENCE_S):
            granted = (await self._suback).reason_codes
        for topic, code in zip(filters, granted, strict=True):
            if code.value >= REFUSED:
                raise BrokerLostError(f"the broker refuses the subscription {topic}: {_words(code.name)}")
        return [topic for topic, code in zip(filters, granted, strict=True) if code == LESSER]

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker takes this message; it would cut the connection at one it does not."""
        topic = len(outbound.topic.encode())
        size = PACKET_HEAD + topic + len(outbound.correlation or b"") + len(outbound.payload)
        return topic <= LONGEST_TOPIC and size <= self.largest_packet

    def send(self, outbound: Outbound) -> bool:
        """Queue a message. A connection that cannot take it is given up, and False returned."""
        if len(self._pending) == PACKET_IDS:
            self.lose("the broker acknowledges nothing: all packet ids are in use")
        if self._lost.done():
            return False
        packet_id = self._next_packet_id() if outbound.qos else 0
        packet = mqtt5.PublishPacket(
            outbound.topic,
            outbound.payload,
            qos=QOS[outbound.qos],
            retain=outbound.retain,
            packet_id=packet_id or None,
            correlation_data=outbound.correlation,
        )
        self._put(packet.write(), packet_id)
        if packet_id:
            self._pending.add(packet_id)
        return True

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgement, behind the answers queued before it."""
        self._put(mqtt5.PubAckPacket(packet_id).write())

    def lose(self, why: str) -> None:
        """Give the connection up."""
        self._end(BrokerLostError(why))

    async def ended(self) -> None:
        """Wait for the end of the connection; raises its cause unless we ended it."""
        await asyncio.shield(self._lost)

    async def leave(self) -> None:
        """Write everything out, disconnect, and read until the broker has closed, so that nothing is reset."""
        self._leaving = True
        self.resume()
        self._put(mqtt5.DisconnectPacket().write())
        with contextlib.suppress(TimeoutError, BrokerLostError):
            async with asyncio.timeout(DRAIN_S):
                await self.ended()

    def pause(self) -> None:
        """Read nothing more than the read in hand."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    # --- the connection's life

    async def __aenter__(self) -> Self:
        options = self._options
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._transport, _ = await self._loop.create_connection(
                    lambda: self, options.host, options.port, ssl=options.tls
                )
                self._put(_connect_packet(options))
                connack = await self._connack
        except BaseException:
            self._drop()
            raise
        self.session_present = connack.session_present
        self.largest_packet = connack.max_packet_size or LARGEST_PACKET
        self._most_in_flight = connack.receive_max
        keepalive_s = options.keepalive_s if connack.server_keep_alive is None else connack.server_keep_alive
        if keepalive_s:
            self._ping_every_s = keepalive_s / 2
            self._timer = self._loop.call_later(self._ping_every_s, self._keep_alive)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _keep_alive(self) -> None:
        if self._pinged and not self._paused:
            self.lose("the broker does not answer a ping")
        elif self._transport is not None:
            self._pinged = True
            self._transport.write(PING)
            self._timer = self._loop.call_later(self._ping_every_s, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._leaving and not self._lost.done():
            self._lost.set_result(None)
        why = f"the broker closed the connection{f': {exc}' if exc else ''}"
        self._end(SilentlyClosedError(why) if self._known else BrokerLostError(why))

    def _end(self, error: BrokerLostError) -> None:
        """Tell whoever waits, and whoever will ask, that the connection is over; the first cause stays."""
        for future in (self._connack, self._suback, self._lost):
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody may be waiting, and that is no mistake

    # --- writing

    def _put(self, packet: bytes, packet_id: int = 0) -> None:
        self._unwritten.append((packet_id, packet))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._unwritten and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what the broker's Receive Maximum allows; what stands behind a held message waits with it."""
        self._flushing = False
        unwritten, going = self._unwritten, []
        while unwritten and not (unwritten[0][0] and self._in_flight >= self._most_in_flight):
            packet_id, packet = unwritten.popleft()
            self._in_flight += packet_id > 0
            going.append(packet)
        if going and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(going))

    def _next_packet_id(self) -> int:
        return next(each for each in self._packet_ids if each not in self._pending)

    # --- reading

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._parse()

    def _parse(self) -> None:
        at, now = 0, time.monotonic()
        with memoryview(self._unread) as view:
            while self._known or not self._connack.done():
                try:
                    packet, length = mqtt5.read(view[at:])
                except IndexError:
                    break
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # noqa: BLE001 - text that is no UTF-8 makes the codec panic
                    length = self._parse_leniently(bytes(view[at:]), error)
                    if not length:
                        break
                else:
                    self._handle(packet, now)
                at += length
        del self._unread[:at]

    def _handle(self, packet: mqtt5.Packet, now: float) -> None:
        match packet:
            case mqtt5.PublishPacket():
                receipt = Receipt(self.number, packet.packet_id or 0, packet.qos.value)
                self._receive(
                    Inbound(
                        packet.topic,
                        packet.payload,
                        receipt,
                        now,
                        packet.duplicate,
                        packet.response_topic,
                        packet.correlation_data,
                        _received_at_ms(packet.user_properties),
                    )
                )
            case mqtt5.PubAckPacket():
                self.refused_answers += packet.reason_code.value >= REFUSED
                if packet.packet_id in self._pending:
                    self._pending.remove(packet.packet_id)
                    self._in_flight -= 1
                    self._flush_soon()
            case mqtt5.PingRespPacket():
                self._pinged = False
            case mqtt5.SubAckPacket():
                _fulfil(self._suback, packet)
            case mqtt5.ConnAckPacket():
                self._on_connack(packet)
            case mqtt5.DisconnectPacket():
                self._on_disconnect(packet)
            case _:
                self.lose(f"the broker sent what nobody asked for: {type(packet).__name__}")

    def _parse_leniently(self, unread: bytes, error: BaseException) -> int:
        """Read a PUBLISH the codec cannot read as the product does; returns its length, 0 where that fails too."""
        if packets.kind(unread[0]) != packets.PUBLISH:
            self.lose(f"cannot read: {error}")
            return 0
        try:
            header, packet = packets.split(bytearray(unread))[0]
            self._receive(packets.read_publish(header, packet, self.number, time.monotonic()))
        except Exception as unreadable:  # noqa: BLE001 - as in the product: any failure to read ends the connection
            self.lose(f"cannot read: {unreadable}")
            return 0
        head = 2
        while unread[head - 1] & MORE:
            head += 1
        return head + len(packet)

    def _on_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        if packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS:
            _fulfil(self._connack, packet)
        else:
            self.lose(f"the broker refuses the connection: {_words(packet.reason_code.name)}")

    def _on_disconnect(self, packet: mqtt5.DisconnectPacket) -> None:
        if packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER:
            self._end(TakenOverError("another client connected with our client id"))
        else:
            self.lose(f"the broker disconnects us: {_words(packet.reason_code.name)}")


def _connect_packet(options: ConnectOptions) -> bytes:
    will = options.will
    return mqtt5.ConnectPacket(
        options.client_id,
        username=options.username,
        password=None if options.password is None else options.password.encode(),
        clean_start=False,
        will=mqtt5.Will(will.topic, payload=will.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True),
        keep_alive=options.keepalive_s,
        session_expiry_interval=options.session_expiry_s,
        receive_max=options.receive_maximum,
    ).write()


def _received_at_ms(properties: Sequence[tuple[str, str]]) -> int | None:
    """Return the stamp of the broker's plugin, epoch milliseconds: the last of its name, as in the product."""
    stamps = [value for name, value in properties if name == STAMP]
    return int(stamps[-1]) if stamps and stamps[-1].isascii() and stamps[-1].isdigit() else None


def _fulfil(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


if __name__ == "__main__":
    setattr(session, Client.__name__, Client)  # the one line this experiment is about
    typer.run(serve_command)
