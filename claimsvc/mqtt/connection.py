"""aiomqtt's client where it alone is not enough: what ended a connection is kept, and its socket is closed.

It is the base of the two clients of this package: the session of the service, and a caller in a lane.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from types import TracebackType
from typing import Any, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_SILENT = logging.Logger("mqtt", logging.CRITICAL)  # noqa: LOG001 - nobody else's is silenced
"""aiomqtt complains on it of packets, such as an answer to what was cancelled; what matters is told by exceptions."""


class BrokerLostError(Exception):
    """The connection is gone. What was not acknowledged on it comes again."""


class Connection(aiomqtt.Client):
    """One connection; `_readable` and `_writable` are what the event loop calls."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, logger=_SILENT, **options)
        self._paho: paho.Client = self._client
        self._paho.disable_logger()
        self._dropped = False
        # These two hold a state: what the CONNACK said, and what ended the connection. Any number of tasks waits for
        # them, also none, and asyncio must not report an error that no task happened to wait for.
        self._connected.add_done_callback(_acknowledge)
        self._disconnected.add_done_callback(_acknowledge)

    def lose(self, why: str) -> None:
        """Give the connection up; one that is still being established fails at once."""
        if self._disconnected.done():
            return
        if not self._connected.done():
            self._connected.set_exception(BrokerLostError(why))
        elif self._is_accepted:
            self._disconnected.set_exception(BrokerLostError(why))

    @property
    def _is_accepted(self) -> bool:
        """True once the broker has accepted the connection; it may have ended since."""
        return self._connected.done() and not self._connected.cancelled() and self._connected.exception() is None

    async def ended(self) -> None:
        """Wait for the end of the connection; raises its cause unless we ended it."""
        await asyncio.shield(self._disconnected)

    async def unless_ended(self, work: Any) -> Any:
        """Await `work`, or raise what ended the connection first; aiomqtt would wait for its timeout.

        Work that is done is returned also when the connection has ended; work that failed then failed of its end.
        """
        doing = asyncio.ensure_future(work)
        doing.add_done_callback(_acknowledge)
        try:
            await asyncio.wait({doing, self._disconnected}, return_when=asyncio.FIRST_COMPLETED)
            has_failed = doing.done() and (doing.cancelled() or doing.exception() is not None)
            if not self._disconnected.done() or (doing.done() and not has_failed):
                return doing.result()
            self._disconnected.result()
        finally:
            doing.cancel()
        raise BrokerLostError("the connection ended")

    # --- reading and writing

    def _readable(self) -> None:
        try:
            while (sock := self._paho.socket()) is not None:
                self._paho.loop_read()
                if not isinstance(sock, ssl.SSLSocket) or sock.pending() == 0:
                    return
        except Exception as error:  # noqa: BLE001 - as aiomqtt: any failure to read ends the connection
            self.lose(f"cannot read: {error}")

    def _writable(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - likewise to write
            self.lose(f"cannot write: {error}")

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        def begin() -> None:
            if self._dropped:  # given up meanwhile: the thread went on
                self._drop_socket()
                return
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

    # --- the connection's life

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():
            # aiomqtt would wait for a CONNACK until its timeout. A thread of its own may call this.
            self._loop.call_soon_threadsafe(self.lose, "the broker closed the connection")
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

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
        self._dropped = True
        self._paho._sock_close()  # noqa: SLF001 - paho cannot publicly drop a connection without DISCONNECT


def _acknowledge(future: asyncio.Future[Any]) -> None:
    """Mark the exception of a future as retrieved."""
    if not future.cancelled():
        future.exception()


def properties_for(packet_type: int) -> Properties:
    """Return MQTT 5 properties for a kind of packet, to be filled."""
    return Properties(packet_type)  # type: ignore[no-untyped-call]
