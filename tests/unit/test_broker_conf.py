from __future__ import annotations

import re
from pathlib import Path

import pytest

from claimsvc.checking.conf import examine_conf, read_conf
from claimsvc.checking.finding import Verdict

ROOT = Path(__file__).parents[2]
MEGABYTE = 1024 * 1024


def failing(path: Path, largest_bytes: int = MEGABYTE, *, with_plugin: bool = False) -> set[str]:
    """Return the names of what fails, each of which says what to change."""
    findings = list(examine_conf(read_conf(path), largest_bytes, with_plugin=with_plugin))
    failed = {each.name for each in findings if each.verdict is Verdict.FAIL}
    assert all(each.seen and each.change for each in findings if each.name in failed)
    return failed


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of the shipped file."""
    path = tmp_path / "mosquitto.conf"
    path.write_text((ROOT / "mosquitto.conf").read_text())
    return path


def test_the_shipped_file_passes(conf: Path) -> None:
    """As it stands, for the password file that it names."""
    assert failing(conf) == set()


def test_the_shipped_file_wants_its_plugin_lines_for_the_plugin(conf: Path) -> None:
    """They are commented out; with them it passes."""
    assert failing(conf, with_plugin=True) == {"logins come from the plugin"}
    conf.write_text(re.sub(r"(?m)^#(plugin)", r"\1", conf.read_text()))
    assert failing(conf, with_plugin=True) == set()


def test_an_empty_file_has_mosquittos_defaults(tmp_path: Path) -> None:
    """Of which nearly all are wrong here; anonymous clients are refused since 2.0, and the size is not limited."""
    path = tmp_path / "mosquitto.conf"
    path.write_text("# nothing\n\n")
    assert failing(path) == {
        "an ACL is configured",
        "the queue limit is high enough",
        "the in-flight limit is high enough",
        "queues survive a restart",
        "answers are sent at once",
        "logins come from the password file",
    }


LINES: dict[str, tuple[str, str | None]] = {
    "anonymous clients": ("allow_anonymous true", "anonymous clients are refused"),
    "anonymous clients on one listener": (
        "allow_anonymous true\nlistener 1884\nallow_anonymous false",
        "anonymous clients are refused",
    ),
    "the default queue": ("max_queued_messages 1000", "the queue limit is high enough"),
    "an unlimited queue": ("max_queued_messages 0", "the queue limit is high enough"),
    "a long queue": ("max_queued_messages 100000", None),
    "few on their way": ("max_inflight_messages 20", "the in-flight limit is high enough"),
    "any number on their way": ("max_inflight_messages 0", None),
    "no persistence": ("persistence false", "queues survive a restart"),
    "a snapshot every half hour": ("autosave_interval 1800", "queues survive a crash (at most 5 min are lost)"),
    "a snapshot at the end only": ("autosave_interval 0", "queues survive a crash (at most 5 min are lost)"),
    "a small message limit": ("message_size_limit 1000000", "the size limit is high enough"),
    "a limit that leaves no room for the topic": (f"message_size_limit {MEGABYTE}", "the size limit is high enough"),
    "a small packet limit": ("max_packet_size 1000000", "the size limit is high enough"),
    "answers held back": ("set_tcp_nodelay false", "answers are sent at once"),
    "a number that is none": ("max_queued_messages many", "the queue limit is high enough"),
}


@pytest.mark.parametrize(("line", "name"), LINES.values(), ids=LINES.keys())
def test_the_last_line_counts(line: str, name: str | None, conf: Path) -> None:
    """Each is judged by itself."""
    with conf.open("a") as file:
        file.write(f"\n{line}\n")
    assert failing(conf) == ({name} if name else set())


def test_included_files_are_read(conf: Path, tmp_path: Path) -> None:
    """In the order of their names, where they are included; other files there are not."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "1.conf").write_text("persistence false\n")
    (tmp_path / "conf.d" / "2.conf").write_text("set_tcp_nodelay false\n")
    (tmp_path / "conf.d" / "old").write_text("allow_anonymous true\n")
    with conf.open("a") as file:
        file.write(f"include_dir {tmp_path}/conf.d\nset_tcp_nodelay true\n")
    assert failing(conf) == {"queues survive a restart"}


def test_a_limit_must_fit_the_largest_request(conf: Path) -> None:
    """Whatever the service's settings make of it."""
    assert failing(conf, 16 * MEGABYTE) == set()
    assert failing(conf, 64 * MEGABYTE) == {"the size limit is high enough"}
