"""The session with the broker: connect, subscribe, receive batches, publish answers, acknowledge.

The only importer of aiomqtt and paho, private parts included, so that the client library can be replaced
without touching another room. Knows topics as strings it was given and payloads as bytes.

Rules it keeps:
- A request is acknowledged after its answer was written to the same connection; neither is awaited. The
  broker reads in order, so an acknowledged request is an answered one.
- An acknowledgement belongs to the connection that delivered. After a reconnect everything older is void: the
  broker delivers it again.
- What waits here is bounded: in number by Receive Maximum, in bytes by not reading on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from claimsvc.wire import Inbound, Outbound, Receipt

PAUSE_BYTES = 16 * 1024 * 1024
"""Above this much waiting payload nothing more is read from the connection."""
BATCH_BYTES = 1024 * 1024
"""A batch is full at this much payload, so that one gateway's thousands do not hold everybody up."""
STABLE_S = 30.0
"""A connection that stood this long starts the backoff afresh."""
DRAIN_S = 5.0

_TAKEN_OVER = 0x8E
_REFUSED = 0x80
_STAMP = "received-at"
_LARGEST_PACKET = 268_435_455
_PACKET_HEAD = 32
"""At most what a PUBLISH takes beside topic, correlation and payload."""


class Report(Protocol):
    """Where the session tells what happens to it: a log level, an event's name, its fields."""

    def __call__(self, level: str, event: str, **fields: object) -> None: ...


class BrokerLostError(Exception):
    """The connection is gone. What was not acknowledged on it comes again."""


class TakenOverError(BrokerLostError):
    """Somebody else connected with our client id, which nobody else should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Where to connect, as whom, and what to say on arrival and departure."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive_s: int
    session_expiry_s: int
    receive_maximum: int
    reconnect_max_s: float
    filters: Sequence[str]
    online: Outbound
    offline: Outbound


class Session:
    """One lasting session. `run` keeps it connected; `receive` and `answer` are for one reader."""

    def __init__(self, options: SessionOptions, report: Report) -> None:
        self._options = options
        self._report = report
        self._inbox: deque[Inbound] = deque()
        self._inbox_bytes = 0
        self._arrived = asyncio.Event()
        self._connection: _Connection | None = None
        self._connections = 0
        self._closing = False
        self._discarded = 0

    # --- for the reader

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        """Return what has arrived, at most `limit`; nothing after `patience_s` without a message."""
        if not self._inbox:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        if self._discarded:
            self._report("warning", "qos0_discarded", messages=self._discarded)
            self._discarded = 0
        batch: list[Inbound] = []
        size = 0
        while self._inbox and len(batch) < limit and size < BATCH_BYTES:
            inbound = self._inbox.popleft()
            size += len(inbound.payload)
            batch.append(inbound)
        self._inbox_bytes -= size
        if self._connection is not None and self._inbox_bytes < PAUSE_BYTES:
            self._connection.resume()
        return batch

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> None:
        """Publish the answers to a request, then acknowledge it, if its connection still stands."""
        connection = self._connection
        if connection is None or connection.number != inbound.receipt.connection:
            return
        for outbound in outbounds:
            if _size(outbound) > connection.largest_packet:
                # The broker would cut the connection at it, and the request would come again for ever.
                self._report("error", "answer_too_large", topic=outbound.topic, bytes=len(outbound.payload))
                continue
            connection.publish(outbound)
        if inbound.receipt.qos:
            connection.acknowledge(inbound.receipt.packet_id)

    @property
    def connected(self) -> bool:
        """Whether a connection stands and is subscribed."""
        return self._connection is not None

    def abandon(self, why: str) -> None:
        """Drop the connection so that everything unacknowledged is delivered again."""
        self._clear_inbox()
        if self._connection is not None:
            self._connection.lose(why)

    def stop_reading(self) -> None:
        """Take no further requests: they stay with the broker for the next start."""
        self._closing = True
        self._clear_inbox()
        self._arrived.set()

    # --- the connection

    async def run(self) -> None:
        """Keep the session connected until cancelled, with capped exponential backoff and jitter."""
        failures = 0
        while not self._closing:
            began = time.monotonic()
            try:
                async with self._connect() as connection:
                    await connection.lost()
            except (aiomqtt.MqttError, BrokerLostError, OSError) as error:
                if time.monotonic() - began > STABLE_S:
                    failures = 0
                delay = _backoff(failures, self._options.reconnect_max_s)
                failures += 1
                taken_over = isinstance(error, TakenOverError)
                level, event = ("error", "session_taken_over") if taken_over else ("warning", "broker_lost")
                self._report(level, event, error=str(error), retry_in_s=round(delay, 2))
                await asyncio.sleep(delay)

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[_Connection]:
        self._clear_inbox()
        self._connections += 1
        client = _Client(self._options, self._connections, self._receive_one)
        async with client:
            connection = _Connection(client, self._connections)
            # A persistent session delivers right after CONNACK, so answers must have a way out already.
            self._connection = connection
            try:
                await self._subscribe(client)
                connection.publish(self._options.online)
                self._report("info", "broker_connected", session_present=client.session_present)
                yield connection
            finally:
                self._connection = None

    async def _subscribe(self, client: _Client) -> None:
        options = SubscribeOptions(qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        granted = await client.subscribe([(topic, options) for topic in self._options.filters])
        for topic, code in zip(self._options.filters, granted, strict=True):
            value: int = code.value if isinstance(code, ReasonCode) else code  # type: ignore[assignment]
            if value >= _REFUSED:
                raise BrokerLostError(f"the broker refuses the subscription {topic}: {code}")
            if value == 0:
                self._report("warning", "subscription_downgraded", filter=topic, granted_qos=0)

    def _receive_one(self, inbound: Inbound) -> None:
        if self._closing:
            return
        if inbound.receipt.qos == 0 and len(self._inbox) >= self._options.receive_maximum:
            self._discarded += 1
            return
        self._inbox.append(inbound)
        self._inbox_bytes += len(inbound.payload)
        if self._inbox_bytes >= PAUSE_BYTES and self._connection is not None:
            self._connection.pause()
        self._arrived.set()

    def _clear_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0

    async def close(self) -> None:
        """Say goodbye so that nothing is lost or repeated: offline status, DISCONNECT, read to the end."""
        self._closing = True
        connection = self._connection
        if connection is not None:
            connection.publish(self._options.offline)
            await connection.leave()


def _size(outbound: Outbound) -> int:
    return _PACKET_HEAD + len(outbound.topic) * 4 + len(outbound.correlation or b"") + len(outbound.payload)


def _backoff(failures: int, cap_s: float) -> float:
    """Full jitter over a doubling span; the first retry is quick."""
    return random.uniform(0.05, min(cap_s, 0.25 * 2 ** min(failures, 16)))  # noqa: S311 - jitter, no secret


class _Connection:
    """A connected client with its number, as the session uses it."""

    def __init__(self, client: _Client, number: int) -> None:
        self._client = client
        self.number = number
        self.largest_packet = client.largest_packet
        self.pause = client.pause
        self.resume = client.resume

    def publish(self, outbound: Outbound) -> None:
        """Queue a message. A connection that cannot take it is lost: the request comes again."""
        properties = None
        if outbound.correlation is not None:
            properties = _properties(PacketTypes.PUBLISH)
            properties.CorrelationData = outbound.correlation
        sent = self._client.paho.publish(
            outbound.topic, outbound.payload, outbound.qos, outbound.retain, properties
        )
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            self.lose(f"cannot publish: {paho.error_string(sent.rc)}")

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgement, behind the answers queued before it."""
        self._client.paho.ack(packet_id, 1)

    def lose(self, why: str) -> None:
        """Give the connection up."""
        self._client.lose(why)

    async def lost(self) -> None:
        """Wait until the connection is gone. Raises what ended it."""
        await self._client.ended()

    async def leave(self) -> None:
        """Write everything out, disconnect, and read until the broker has closed.

        Closing with unread input makes the kernel reset the connection, and the broker would throw our last
        acknowledgements away. The duplicate keeps the connection open after paho has closed its side.
        """
        sock = self._client.paho.socket()
        if sock is None:
            return
        with socket.socket(fileno=os.dup(sock.fileno())) as duplicate:
            duplicate.setblocking(False)
            self._client.pause()
            self._client.paho.disconnect()
            loop = asyncio.get_running_loop()
            with contextlib.suppress(TimeoutError, OSError, aiomqtt.MqttError):
                async with asyncio.timeout(DRAIN_S):
                    await self._client.ended()
                    while await loop.sock_recv(duplicate, 65_536):
                        pass


class _Client(aiomqtt.Client):
    """aiomqtt's client with messages handed straight on, acknowledged by hand, and reading that can pause."""

    def __init__(self, options: SessionOptions, number: int, receive_one: Callable[[Inbound], None]) -> None:
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
            will=aiomqtt.Will(options.offline.topic, options.offline.payload, qos=1, retain=True),
            max_inflight_messages=0,  # unlimited: else acknowledgements overtake queued answers
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self.paho = self._client
        self.session_present = False
        self.largest_packet = _LARGEST_PACKET
        self._number = number
        self._receive_one = receive_one
        self._paused = False
        self.paho.manual_ack_set(True)
        self.paho.on_message = self._on_paho_message

    def _on_paho_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        stated = vars(message.properties) if message.properties is not None else {}
        self._receive_one(
            Inbound(
                topic=message.topic,
                payload=bytes(message.payload),
                receipt=Receipt(self._number, message.mid, message.qos),
                arrived=time.monotonic(),
                redelivered=bool(message.dup),
                response_topic=stated.get("ResponseTopic"),
                correlation=stated.get("CorrelationData"),
                received_at_ms=_stamp(stated.get("UserProperty", ())),
            )
        )

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.session_present = flags.session_present
        self.largest_packet = vars(properties).get("MaximumPacketSize", _LARGEST_PACKET)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if reason_code.value == _TAKEN_OVER and not self._disconnected.done() and self._connected.done():
            self._disconnected.set_exception(TakenOverError("another client connected with our client id"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    async def ended(self) -> None:
        """Wait for the end of the connection; raises its cause unless we ended it."""
        await asyncio.shield(self._disconnected)

    def lose(self, why: str) -> None:
        if not self._disconnected.done():
            self._disconnected.set_exception(BrokerLostError(why))

    def pause(self) -> None:
        sock = self.paho.socket()
        if sock is not None and not self._paused:
            self._paused = True
            self._loop.remove_reader(sock.fileno())

    def resume(self) -> None:
        sock = self.paho.socket()
        if sock is not None and self._paused:
            self._paused = False
            self._loop.add_reader(sock.fileno(), self._readable)
            self._loop.call_soon(
                self._readable
            )  # TLS may hold decrypted bytes that no reader event announces

    def _readable(self) -> None:
        try:
            while not self._paused:
                self.paho.loop_read()
                sock = self.paho.socket()
                if not isinstance(sock, ssl.SSLSocket) or sock.pending() == 0:
                    return
        except Exception as error:  # noqa: BLE001 - as aiomqtt: any failure to read ends the connection
            self.lose(str(error))

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
        self.paho._sock_close()  # noqa: SLF001 - paho cannot publicly drop a connection without DISCONNECT


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]


def _stamp(user_properties: Sequence[tuple[str, str]]) -> int | None:
    """Return when the broker's plugin saw the message; the last stamp counts, the plugin adds it last."""
    stamps = [value for name, value in user_properties if name == _STAMP]
    if not stamps or not stamps[-1].isascii() or not stamps[-1].isdigit() or len(stamps[-1]) > 15:  # noqa: PLR2004
        return None
    return int(stamps[-1])
