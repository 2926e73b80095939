"""Structured logs: JSON, or colours where standard output is a terminal. Never a payload or secret."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

import structlog
from pydantic_core import to_json


class Logger(structlog.typing.FilteringBoundLogger, Protocol):
    """A structured logger with a fast way to write the line of a handled message."""

    def handled(self, fields: dict[str, object], time: str) -> None:
        """Write the event `handled` at level info. `time` is ISO 8601; the caller has cleaned strings of clients."""


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_VALUE = 300
"""A principal may be 64 KiB long; a log line may not."""


def open_log(level: str, style: str, stream: TextIO | None = None) -> Logger:
    """Return the process's logger; `style` is json, text, or auto: text on a terminal."""
    out = stream or sys.stdout
    pretty = style == "text" or (style == "auto" and out.isatty())
    renderer: Any = (
        # The pretty formatter would show the variables of every frame, secrets included.
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(_json)
    )
    # The MQTT library's own words are about packets; what matters of them is logged by the session.
    logging.getLogger("mqtt").setLevel(logging.CRITICAL)
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(file=_Coalesced(out)),  # type: ignore[arg-type]  # write and flush is all it needs
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _shorten,
            *(() if pretty else (structlog.processors.format_exc_info,)),
            renderer,
        ],
        wrapper_class=_wrapper(_LEVELS[level], pretty=pretty),
    ).bind()
    return logger


def _wrapper(level: int, *, pretty: bool) -> type[Any]:
    """Return structlog's logger with `handled`: one call of the JSON encoder in place of five processors."""
    base: type[Any] = structlog.make_filtering_bound_logger(level)

    def handled(self: Any, fields: dict[str, object], time: str) -> None:
        if pretty:
            self.info("handled", **fields)
        elif level <= _LEVELS["info"]:
            line = to_json({**fields, "event": "handled", "level": "info", "time": time}, fallback=repr)
            self._logger.msg(line.decode())

    return type("Logger", (base,), {"handled": handled})


def now_iso() -> str:
    """Return the time of a log line: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(event: MutableMapping[str, Any], default: Callable[[Any], Any]) -> str:
    return to_json(event, fallback=default).decode()


class _Coalesced:
    """Writes all lines of one turn of the event loop at once: a batch's lines cost one system call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        if not self._lines:
            try:
                asyncio.get_running_loop().call_soon(self._write_out)
            except RuntimeError:  # no loop is running: before it starts, or after it ended
                self._stream.write(line)
                self._stream.flush()
                return
        self._lines.append(line)

    def flush(self) -> None:
        """Do nothing: structlog flushes after every line, the loop does at the end of its turn."""

    def _write_out(self) -> None:
        lines, self._lines = self._lines, []
        self._stream.write("".join(lines))
        self._stream.flush()


def clean(text: str) -> str:
    """Return a stranger's text as a line may hold it: short, and nothing a terminal would obey."""
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "…"
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _shorten(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = clean(value)
    return event
