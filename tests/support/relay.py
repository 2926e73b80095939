"""A wire between a client and a real broker that breaks, or garbles one packet, where a test wants it to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

_SUBSCRIBE, _SUBACK = 0x82, 0x90
_NOT_AUTHORIZED = 0x87
_CHUNK = 65_536


class Fault(Enum):
    """What happens to every connection through the wire."""

    CUT_AT_CONNECT = "cut before CONNACK"
    CUT_AT_SUBSCRIBE = "cut before SUBACK"
    REFUSE_SUBSCRIBE = "the last subscription is refused"


class Relay:
    """Listens on `port`, and passes on what comes to the broker at `broker_port`."""

    def __init__(self, broker_port: int, fault: Fault) -> None:
        self._broker_port = broker_port
        self._fault = fault
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="relay")]
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in self._ends:
            _shut(end)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._broker_port))
            self._ends += [client, broker]
            for ends in ((client, broker), (broker, client)):
                thread = threading.Thread(target=self._pass_on, args=ends, name="relay")
                thread.start()
                self._threads.append(thread)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if self._fault is Fault.CUT_AT_CONNECT or (
                    self._fault is Fault.CUT_AT_SUBSCRIBE and chunk[0] == _SUBSCRIBE
                ):
                    break
                is_refused = self._fault is Fault.REFUSE_SUBSCRIBE and chunk[0] == _SUBACK
                sink.sendall(_refused(chunk) if is_refused else chunk)
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _refused(chunk: bytes) -> bytes:
    """Return the SUBACK a chunk begins with, its last reason code a refusal, and what follows it."""
    end = 2 + chunk[1]
    return chunk[: end - 1] + bytes([_NOT_AUTHORIZED]) + chunk[end:]
