"""A client like any other's: connects with a login, subscribes, publishes, calls and waits for the answer.

The operators' commands and the examination of a live broker stand on it. What the broker says of each subscription
and each message is given as its MQTT 5 reason code, so that a refusal can be looked at and not only suffered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import field
from types import TracebackType
from typing import Any, TypeVar

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from claimsvc.dialects.message import Outbound
from claimsvc.immutable import immutable
from claimsvc.mqtt.connection import BrokerLostError, Connection, properties_for

REFUSED = 0x80
"""Reason codes from here on are refusals."""
NOT_AUTHORIZED = 0x87
MOST_UNREAD = 10_000
"""Messages kept for `receive`; while so many are unread, further ones are counted and dropped."""
_BAD_LOGIN = {0x04, 0x05, 0x86, 0x87, 0x8A, 0x8C}
"""Bad username or password, not authorized, banned, bad authentication method; the first two are MQTT 3's."""
_LEAVING_S = 2.0
_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
"""What stands before the system's words for a failure, and says no more than they do."""

T = TypeVar("T")


class CallerError(Exception):
    """What can happen to a client; the text is for its user."""


class CannotConnectError(CallerError):
    """There is no broker there, or none that can be talked to."""


class LoginRefusedError(CallerError):
    """The broker refuses the login."""


class ConnectionLostError(CallerError):
    """The connection ended before its time. What was sent may have been done or not."""


class CallTimeoutError(CallerError):
    """No answer came in time. What was sent may have been done or not."""


class NotAllowedError(CallerError):
    """The broker does not let this login publish or subscribe there. `code` is its reason code."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"the broker does not let this login {what} (reason code 0x{code:02X})")
        self.code = code


@immutable(kw_only=True)
class CallerOptions:
    """Where to connect, as whom, and how long to wait for whatever the broker has to say."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None
    client_id: str = ""
    """Empty: the broker makes one up."""
    timeout_s: float = 10.0
    clean_start: bool = True
    session_expiry_s: int = 0
    """How long the broker keeps the session, with what it is subscribed to, after the connection."""
    will: Outbound | None = None
    """What the broker publishes when the connection ends without a goodbye."""


@immutable
class Granted:
    """What the broker said in its CONNACK. What it did not say is MQTT's default."""

    session_present: bool = False
    receive_maximum: int = 65_535
    """Messages on their way to the broker at a time."""
    largest_packet: int | None = None
    """In bytes; None is no limit."""
    highest_qos: int = 2
    retains: bool = True


@immutable
class Heard:
    """One message received."""

    topic: str
    payload: bytes
    qos: int
    retained: bool


class Caller:
    """A connected client. Several may be open at once; each is for one event loop."""

    def __init__(self, line: _Line, timeout_s: float) -> None:
        self._line = line
        self._timeout_s = timeout_s

    @property
    def dropped(self) -> int:
        """Return how many messages were dropped because nobody took them."""
        return self._line.dropped

    @property
    def granted(self) -> Granted:
        """Return what the broker said of itself when it accepted the connection."""
        return self._line.granted

    async def subscribe(self, topic_filter: str, qos: int = 1, *, no_local: bool = False) -> int:
        """Subscribe, and return the granted QoS or, from REFUSED on, why not.

        Raises ConnectionLostError or CallTimeoutError.
        """
        options = SubscribeOptions(qos=qos, noLocal=no_local)
        with _plainly(f"the subscription to {topic_filter}"):
            granted = await self._awaited(self._line.subscribe([(topic_filter, options)], timeout=math.inf))
        return _code(granted[0])

    async def publish(
        self, outbound: Outbound, *, expires_s: int | None = None, response_topic: str | None = None
    ) -> int:
        """Publish, and return the broker's reason code; 0 at QoS 0, which is not acknowledged.

        A message not delivered within `expires_s` is thrown away by the broker. Raises ConnectionLostError or
        CallTimeoutError.
        """
        with _plainly(f"the message on {outbound.topic}"):
            return _code(await self._awaited(self._line.send(outbound, expires_s, response_topic)))

    async def call(
        self, outbound: Outbound, answer_topic: str, timeout_s: float | None = None, *, expires_s: int | None = None
    ) -> Heard:
        """Publish, and return the next message on `answer_topic`, which must be subscribed to.

        Raises NotAllowedError, ConnectionLostError or CallTimeoutError.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Heard] = loop.create_future()

        def take(heard: Heard) -> None:
            if not answer.done():
                answer.set_result(heard)

        with self.listening(answer_topic, take):
            code = await self.publish(outbound, expires_s=expires_s)
            if code >= REFUSED:
                raise NotAllowedError(f"publish on {outbound.topic}", code)
            with _plainly(f"the answer on {answer_topic}"):
                heard: Heard = await self._awaited(answer, timeout_s)
                return heard

    @contextmanager
    def listening(self, topic: str, take: Callable[[Heard], None]) -> Iterator[None]:
        """Hand what comes on this very topic to `take` and not to `receive`."""
        self._line.listeners[topic] = take
        try:
            yield
        finally:
            self._line.listeners.pop(topic, None)

    def vanish(self) -> None:
        """End the connection without a goodbye."""
        self._line.lose("we ended it without a goodbye")
        self._line.drop()

    async def receive(self, timeout_s: float | None = None) -> Heard:
        """Return the next message; waits as long as it takes without `timeout_s`.

        Raises ConnectionLostError or CallTimeoutError.
        """
        if not self._line.unread.empty():  # also when the connection has ended since
            return self._line.unread.get_nowait()
        with _plainly("a message"):
            heard: Heard = await self._awaited(self._line.unread.get(), math.inf if timeout_s is None else timeout_s)
            return heard

    async def messages(self) -> AsyncIterator[Heard]:
        """Yield what comes, until the connection ends: then raises ConnectionLostError."""
        while True:
            yield await self.receive()

    async def _awaited(self, work: Awaitable[T], timeout_s: float | None = None) -> T:
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        async with asyncio.timeout(None if wait_s == math.inf else wait_s):
            done: T = await self._line.unless_ended(work)
            return done


@asynccontextmanager
async def open_caller(options: CallerOptions) -> AsyncIterator[Caller]:
    """Connect, and disconnect in the end. Raises CannotConnectError or LoginRefusedError."""
    where = f"{options.host}:{options.port}"
    async with AsyncExitStack() as stack:
        try:
            line = await stack.enter_async_context(_Line(options))
        except MqttConnectError as error:
            if _code(error.rc) in _BAD_LOGIN:
                who = f"the login {options.username!r}" if options.username else "clients without a login"
                raise LoginRefusedError(f"the broker at {where} refuses {who}: {_reason(error.rc)}") from None
            raise CannotConnectError(f"the broker at {where} refuses the connection: {_reason(error.rc)}") from None
        except (aiomqtt.MqttError, BrokerLostError, UnicodeError) as error:
            raise CannotConnectError(f"cannot connect to {where}: {_NUMBER.sub('', str(error))}") from None
        yield Caller(line, options.timeout_s)


class _Line(Connection):
    """The connection of a caller: who is waiting for what."""

    def __init__(self, options: CallerOptions) -> None:
        properties = properties_for(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = options.session_expiry_s
        will = options.will
        super().__init__(
            options.host,
            options.port,
            identifier=options.client_id or None,
            username=options.username,
            password=options.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=options.clean_start,
            will=will and aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            properties=properties,
            keepalive=30,
            timeout=options.timeout_s,
            tls_context=options.tls,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._paho.connect_timeout = options.timeout_s
        self._acknowledgements: dict[int, asyncio.Future[ReasonCode]] = {}
        self.listeners: dict[str, Callable[[Heard], None]] = {}
        self.unread: asyncio.Queue[Heard] = asyncio.Queue(MOST_UNREAD)
        self.dropped = 0
        self.granted = Granted()

    async def send(self, outbound: Outbound, expires_s: int | None, response_topic: str | None) -> ReasonCode | int:
        properties = properties_for(PacketTypes.PUBLISH)
        stated = {
            "CorrelationData": outbound.correlation,
            "MessageExpiryInterval": expires_s,
            "ResponseTopic": response_topic,
        }
        for name, value in stated.items():
            if value is not None:
                setattr(properties, name, value)
        sent = self._paho.publish(outbound.topic, outbound.payload, outbound.qos, outbound.retain, properties)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise BrokerLostError(paho.error_string(sent.rc))
        if not outbound.qos:
            return 0
        acknowledged: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._acknowledgements[sent.mid] = acknowledged
        try:
            return await acknowledged
        finally:
            self._acknowledgements.pop(sent.mid, None)

    def drop(self) -> None:
        self._drop_socket()

    def _on_connect(
        self,
        client: Any,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        said = {} if properties is None else vars(properties)
        default = Granted()
        self.granted = Granted(
            session_present=flags.session_present,
            receive_maximum=said.get("ReceiveMaximum", default.receive_maximum),
            largest_packet=said.get("MaximumPacketSize"),
            highest_qos=said.get("MaximumQoS", default.highest_qos),
            retains=bool(said.get("RetainAvailable", default.retains)),
        )
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Any) -> None:
        acknowledged = self._acknowledgements.get(mid)
        if acknowledged is not None and not acknowledged.done():
            acknowledged.set_result(reason_code)

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        heard = Heard(message.topic, bytes(message.payload), message.qos, message.retain)
        listener = self.listeners.get(heard.topic)
        if listener is not None:
            listener(heard)
        elif self.unread.full():
            self.dropped += 1
        else:
            self.unread.put_nowait(heard)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.timeout = _LEAVING_S
        with contextlib.suppress(aiomqtt.MqttError, BrokerLostError):
            await super().__aexit__(exc_type, exc, tb)


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Turn what the libraries raise into what a user can be told."""
    try:
        yield
    except TimeoutError:
        raise CallTimeoutError(f"waited in vain for {what}") from None
    except aiomqtt.MqttCodeError as error:
        raise ConnectionLostError(f"the broker ended the connection: {_reason(error.rc)}") from None
    except (aiomqtt.MqttError, BrokerLostError, OSError) as error:
        raise ConnectionLostError(f"the connection to the broker is gone: {error}") from None


def _code(value: ReasonCode | int | None) -> int:
    code = value.value if isinstance(value, ReasonCode) else value
    return REFUSED if code is None else int(code)


def _reason(value: ReasonCode | int | None) -> str:
    return paho.error_string(value) if isinstance(value, int) else str(value)
