"""A store that is missing, replaced, damaged, locked, or read under another uid."""

from __future__ import annotations

import grp
import multiprocessing
import os
import pwd
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claimsvc.sealing import password_hash
from tests.plugin.conftest import MakeSite
from tests.support.clients import PATIENCE_S
from tests.support.plugin import Site, make_store, running


def soon(holds: Callable[[], bool]) -> bool:
    """Return whether something comes to hold: the plugin looks at a file that failed a few times a second."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
    return True


def told(site: Site, words: str) -> int:
    """Return how often the log says so."""
    return sum(words in line for line in site.log)


def test_a_store_that_comes_after_the_broker(make_site: MakeSite) -> None:
    """Until then nobody gets in by it, the service included; the log says why, once."""
    site = make_site(with_store=False).start()
    for _ in range(5):
        assert not site.admits("device", "password")
    assert not site.admits("claimsvc", "service-password")
    assert site.admits("foreign", "password")
    assert told(site, "cannot read the store") == 1
    make_store(site.store)
    site.add_password("device", "password")
    assert soon(lambda: site.admits("device", "password"))
    assert told(site, "can be read again") == 1


def test_a_token_key_that_comes_later(make_site: MakeSite) -> None:
    """Passwords work meanwhile."""
    site = make_site().start()
    key = site.store.parent / "token.key"
    key.unlink()
    site.add_password("device", "password")
    site.add_token("token", "Device A")
    for _ in range(3):
        assert not site.admits("token")
    assert site.admits("device", "password")
    assert told(site, "cannot read the token key") == 1
    key.write_text("no key")
    assert not site.admits("token")
    site.write_key()
    assert site.admits("token")


def test_a_store_that_is_replaced(make_site: MakeSite) -> None:
    """The new file counts from the next login on."""
    site = make_site().start()
    site.add_password("old", "password")
    assert site.admits("old", "password")
    site.close_store()
    for path in site.store.parent.glob("claimsvc.db*"):
        path.rename(path.with_name(f"old-{path.name}"))
    assert not site.admits("old", "password")
    make_store(site.store)
    site.add_password("new", "password")
    assert soon(lambda: site.admits("new", "password"))
    assert not site.admits("old", "password")
    fresh = site.store.with_name("fresh.db")
    make_store(fresh)
    with sqlite3.connect(fresh) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    site.close_store()
    for path in site.store.parent.glob("claimsvc.db-*"):
        path.unlink()  # else SQLite would take them for the new file's
    fresh.rename(site.store)
    assert not site.admits("new", "password")


@pytest.mark.parametrize(
    ("how", "words"),
    {
        "overwritten": "file is not a database",
        "emptied": "no such table",
        "another's": "no such table",
        "a directory": "disk I/O error",
    }.items(),
)
def test_a_store_that_is_damaged(how: str, words: str, make_site: MakeSite) -> None:
    """Nobody new gets in, those who are in stay, the log says why once, and it recovers by itself."""
    site = make_site().start()
    site.add_password("device", "password")
    with site.peer("device", "password") as device:
        site.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        site.close_store()
        good = site.store.with_name("good.db")
        shutil.move(site.store, good)
        for path in site.store.parent.glob("claimsvc.db-*"):
            path.unlink()
        if how == "overwritten":
            site.store.write_bytes(b"no database\n" * 1000)
        elif how == "another's":
            with sqlite3.connect(site.store) as connection:
                connection.execute("CREATE TABLE credential_of_mine (x)")
        elif how == "emptied":
            site.store.touch()
        else:
            site.store.mkdir()
        for _ in range(3):
            assert not site.admits("device", "password")
        assert told(site, words) == 1
        device.trip()
        assert device.disconnected.empty()
        if how == "a directory":
            site.store.rmdir()
        good.rename(site.store)
        assert soon(lambda: site.admits("device", "password"))
    assert told(site, "can be read again") == 1


def test_a_page_that_is_damaged(make_site: MakeSite) -> None:
    """Found only when it is read."""
    site = make_site().start()
    for number in range(200):
        site.add_password(f"device-{number}", "password")
    assert site.admits("device-1", "password")
    site.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = site.writer.execute("PRAGMA page_size").fetchone()[0]
    ((root,),) = site.writer.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'credential'").fetchall()
    site.close_store()
    with site.store.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    copy = site.store.with_name("copy.db")
    shutil.copy(site.store, copy)
    copy.rename(site.store)
    assert not site.admits("device-1", "password")
    assert told(site, "malformed") == 1
    assert site.admits("foreign", "password")


def test_a_store_that_is_locked_for_long(make_site: MakeSite) -> None:
    """The broker waits for a moment only, and serves the others then."""
    site = make_site().start()
    site.add_password("device", "password")
    site.writer.execute("PRAGMA journal_mode = DELETE")
    site.writer.execute("BEGIN EXCLUSIVE")
    with site.peer("foreign", "password") as other:
        before = time.monotonic()
        assert not site.admits("device", "password")
        other.trip()
        assert time.monotonic() - before < 1
    assert told(site, "locked") == 1
    site.writer.execute("COMMIT")
    assert soon(lambda: site.admits("device", "password"))


def test_kill_9_of_the_broker(make_site: MakeSite) -> None:
    """It finds the log of the last commit as it was left."""
    site = make_site().start()
    site.add_password("device", "password")
    assert site.admits("device", "password")
    site.broker.kill()
    site.add_password("later", "password")
    site.broker.start()
    assert site.admits("device", "password")
    assert site.admits("later", "password")


# --- two uids

NOBODY, SERVICE = "nobody", "daemon"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be several users")


@pytest.fixture
def common() -> Iterator[Path]:
    """A directory that everybody may enter, which pytest's are not."""
    path = Path(tempfile.mkdtemp(prefix="claimsvc-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_service(work: Callable[[], None], group: int) -> None:
    """Do something as another user of the group, in a process of its own."""

    def run() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(pwd.getpwnam(SERVICE).pw_uid)
        os.umask(0o027)
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 0


@as_root
def test_the_broker_reads_as_another_user_what_the_service_writes(plugin_path: Path, common: Path) -> None:
    """Shared group, directory 2770, files 0660: whoever starts or stops first, and after a restart of the broker."""
    site = Site(common, Path(shutil.copy(plugin_path, common / "claimsvc.so")))
    site.user = NOBODY
    site.prepare(with_store=False)
    (common / "passwords").chmod(0o644)
    group = pwd.getpwnam(NOBODY).pw_gid
    site.store.parent.mkdir()
    os.chown(site.store.parent, pwd.getpwnam(SERVICE).pw_uid, group)
    site.store.parent.chmod(0o2770)

    def make() -> None:
        make_store(site.store)
        site.write_key()

    def write(name: str) -> Callable[[], None]:
        def write() -> None:
            site.add_password(name, "password")
            site.close_store()

        return write

    def side_files() -> set[str]:
        return {path.name for path in site.store.parent.glob("claimsvc.db-*")}

    as_service(make, group)
    (site.store.parent / "token.key").chmod(0o640)
    as_service(write("first"), group)
    assert side_files() == set()  # a clean stop has tidied up
    with running(site):
        assert_runs_as(site, NOBODY)
        assert site.admits("first", "password")
        as_service(write("second"), group)
        assert site.admits("second", "password")
        site.broker.stop()
        site.broker.start()
        assert site.admits("second", "password")
        as_service(write("third"), group)
        assert site.admits("third", "password")
        site.broker.kill()
        site.broker.start()
        assert site.admits("third", "password")
        modes = {path.name: path.stat().st_mode & 0o777 for path in site.store.parent.glob("claimsvc.db*")}
        assert set(modes.values()) <= {0o660, 0o600}  # the service's lock is its own
        assert {grp.getgrgid(path.stat().st_gid).gr_gid for path in site.store.parent.iterdir()} == {group}
        assert told(site, "cannot read") == 0


def assert_runs_as(site: Site, user: str) -> None:
    """See that Mosquitto has become this user."""
    assert site.broker.process
    assert Path(f"/proc/{site.broker.process.pid}").stat().st_uid == pwd.getpwnam(user).pw_uid


@as_root
def test_a_broker_without_the_group_is_told(plugin_path: Path, common: Path) -> None:
    """The log says that it may not, and a right that comes later is used."""
    site = Site(common, Path(shutil.copy(plugin_path, common / "claimsvc.so")))
    site.user = NOBODY
    site.prepare()
    (common / "passwords").chmod(0o644)
    site.store.parent.chmod(0o700)
    with running(site):
        site.add_row("device", "device", "password", password_hash("password", 2))
        assert not site.admits("device", "password")
        assert told(site, "Permission denied") == 1
        site.store.parent.chmod(0o777)
        for path in site.store.parent.iterdir():
            path.chmod(0o666)
        assert soon(lambda: site.admits("device", "password"))
