"""Checks of Mosquitto's configuration file, for everything that cannot be seen from outside the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from claimsvc.checking.finding import Finding, Verdict, passed_or, skipped
from claimsvc.immutable import immutable

CONF = "mosquitto.conf"
_MEGABYTE = 1024 * 1024
_ENOUGH_QUEUED = 100_000
_ENOUGH_INFLIGHT = 1_000
_LONGEST_AUTOSAVE_S = 300
_SPARE_BYTES = 64 * 1024
"""Room for the topic and properties of a message, added to its payload."""
_DEFAULTS = {
    "autosave_interval": "1800",
    "max_inflight_messages": "20",
    "max_packet_size": "0",
    "max_queued_bytes": "0",
    "max_queued_messages": "1000",
    "message_size_limit": "0",
    "persistence": "false",
    "set_tcp_nodelay": "false",
}
"""Mosquitto's defaults for the options that are checked."""


@immutable
class Conf:
    """The lines of the file and of the files it includes, in order."""

    lines: tuple[tuple[str, str], ...]

    def last(self, key: str) -> str:
        """Return the effective value of a global option: its last line, or Mosquitto's default."""
        return next((value for name, value in reversed(self.lines) if name == key), _DEFAULTS.get(key, ""))

    def number(self, key: str) -> int:
        """Return the value as a number; -1 if it is not a number, with which Mosquitto would not start."""
        try:
            return int(self.last(key))
        except ValueError:
            return -1

    def all(self, key: str) -> list[str]:
        """Return the value of every line of this name."""
        return [value for name, value in self.lines if name == key]


def read_conf(path: Path) -> Conf:
    """Read a file and the files of its `include_dir`, as Mosquitto does. Raises OSError."""
    return Conf(tuple(_lines(path, depth=0)))


def _lines(path: Path, depth: int) -> Iterator[tuple[str, str]]:
    for line in path.read_text(errors="replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = line.strip().partition(" ")
        if key == "include_dir" and depth == 0:
            for each in sorted(Path(value.strip()).glob("*.conf")):
                yield from _lines(each, depth + 1)
        else:
            yield key, value.strip()


def examine_conf(conf: Conf, largest_bytes: int, *, with_plugin: bool) -> Iterator[Finding]:
    """Yield the findings about a file. `largest_bytes` is the largest payload that the service accepts."""
    for name, judge, change in _LINES:
        yield passed_or(CONF, name, judge(conf), change)
    limits = (conf.number("message_size_limit"), conf.number("max_packet_size"))
    small = [each for each in limits if 0 < each < largest_bytes + _SPARE_BYTES]
    yield passed_or(
        CONF,
        "the size limit is high enough",
        [f"a limit of {each} bytes" for each in small],
        f"message_size_limit {max(20 * _MEGABYTE, 2 * largest_bytes)}",
    )
    plugins = [value for value in conf.all("plugin") + conf.all("auth_plugin") if "claimsvc" in value]
    if with_plugin:
        troubles = [] if plugins else ["no line `plugin ...claimsvc.so`"]
        yield passed_or(CONF, "logins come from the plugin", troubles, "see plugin.md", seen=" ".join(plugins))
    elif not conf.all("password_file"):
        seen = "credentials.store is `password_file`, but there is no line `password_file`"
        change = "password_file with the path of the setting credentials.password_file"
        yield Finding(CONF, "logins come from the password file", Verdict.FAIL, seen, change)


def examine_no_conf() -> Iterator[Finding]:
    """Yield the checks that are skipped without the file, each with the lines that the file needs."""
    for name in (_RESTART, _CRASH):
        change = next(change for each, _, change in _LINES if each == name)
        yield skipped(
            CONF, name, "cannot be seen from outside", f"pass --mosquitto-conf FILE; it should contain: {change}"
        )


def _is(key: str, bad: str) -> Callable[[Conf], list[str]]:
    return lambda conf: [f"{key} {bad}"] if conf.last(key) == bad else []


def _anonymous(conf: Conf) -> list[str]:
    return ["allow_anonymous true"] if "true" in conf.all("allow_anonymous") else []


def _access(conf: Conf) -> list[str]:
    others = [value for value in conf.all("plugin") + conf.all("auth_plugin") if "claimsvc" not in value]
    return [] if conf.all("acl_file") or others else ["no line `acl_file`"]


def _queue(conf: Conf) -> list[str]:
    number = conf.number("max_queued_messages")
    if number == 0:
        return ["max_queued_messages 0: Mosquitto 2.0 then disconnects a client that publishes what the ACL denies"]
    return [f"max_queued_messages {number}"] if number < _ENOUGH_QUEUED else []


def _inflight(conf: Conf) -> list[str]:
    number = conf.number("max_inflight_messages")
    return [f"max_inflight_messages {number}"] if number and number < _ENOUGH_INFLIGHT else []


def _snapshots(conf: Conf) -> list[str]:
    seconds = conf.number("autosave_interval")
    if conf.last("persistence") != "true":
        return []
    return [f"autosave_interval {seconds}"] if seconds == 0 or seconds > _LONGEST_AUTOSAVE_S else []


_RESTART, _CRASH = "queues survive a restart", "queues survive a crash (at most 5 min are lost)"
_LINES: tuple[tuple[str, Callable[[Conf], list[str]], str], ...] = (
    # name of the check, its problems, what to change
    ("anonymous clients are refused", _anonymous, "allow_anonymous false, in every listener"),
    ("an ACL is configured", _access, "acl_file with the lines of config/acl"),
    (
        "the queue limit is high enough",
        _queue,
        "max_queued_messages 1000000000, and max_queued_bytes as memory allows",
    ),
    ("the in-flight limit is high enough", _inflight, "max_inflight_messages 0 (on 2.1: 65535)"),
    (_RESTART, _is("persistence", "false"), "persistence true, and persistence_location"),
    (_CRASH, _snapshots, "autosave_interval 10"),
    ("answers are sent at once", _is("set_tcp_nodelay", "false"), "set_tcp_nodelay true"),
)
