"""`claimsvc backup` and the way back: a service on a restored database."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import Admin, Client, LoginRefusedError
from tests.support.processes import PATIENCE_S, World

OPEN = {"secretKey": "value", "durationMs": 600_000}
ENOUGH, TOO_LITTLE = resource.RLIM_INFINITY, 64 * 1024


def backup(world: World, *arguments: str, most_bytes: int = ENOUGH) -> subprocess.CompletedProcess[str]:
    """Run `claimsvc backup`; it may write no file beyond `most_bytes`, as if the disk were full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))

    config = str(world.directory / "claimsvc.toml")
    return subprocess.run(
        [sys.executable, "-m", "claimsvc", "backup", "-c", config, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=world.directory,
        preexec_fn=limit,
    )


def restore(world: World, copy: Path) -> None:
    """Put a backup in the place of the database, as documented: nothing of the old one may be left."""
    for suffix in ("", "-wal", "-shm"):
        world.database.with_name(world.database.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, world.database)
    world.database.chmod(0o660)


def serve(world: World) -> subprocess.CompletedProcess[str]:
    """Run a service that is expected not to start."""
    return subprocess.run(
        [sys.executable, "-m", "claimsvc", "serve", "-c", str(world.service.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=os.environ,
    )


Build = Callable[[str], World]


@pytest.fixture
def build(tmp_path: Path, plugin: Path) -> Iterator[Build]:
    """Start a world: `build("stock")` or `build("plugin")`."""
    worlds: list[World] = []

    def build(kind: str) -> World:
        directory = tmp_path / "world"
        directory.mkdir()
        worlds.append(World(directory, plugin if kind == "plugin" else None).start())
        return worlds[0]

    yield build
    for world in worlds:
        world.stop()


@pytest.mark.parametrize("kind", ["stock", "plugin"])
def test_a_restored_database_goes_on_where_it_was(kind: str, build: Build, tmp_path: Path) -> None:
    """A window opened before the backup is claimed after the disaster, by logins of then; what came later is gone."""
    world = build(kind)
    with Client(world.port, world.accounts["device"]) as device:
        device.open_window(OPEN)
    done = backup(world, str(tmp_path / "copy.db"), "--with-key", str(tmp_path / "keys"))
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "copy.db") in done.stdout
    with Admin(world.port, world.accounts["admin"]) as admin:
        late = admin.make_user("late")
    with Client(world.port, world.accounts["customer"]) as customer:
        assert customer.claim("device").body["response"] == "SUCCESS"

    world.service.stop()
    world.settings.key_path.unlink()  # the machine is gone, and all that was on it
    restore(world, tmp_path / "copy.db")
    shutil.copy(tmp_path / "keys" / "service.key", world.settings.key_path)
    world.service.start()
    with Client(world.port, world.accounts["customer"]) as customer:
        assert customer.claim("device", "wrong").body == "FAILURE"
        assert customer.claim("device").body["response"] == "SUCCESS"
    with pytest.raises(LoginRefusedError):
        Client(world.port, late)


def test_another_key_is_refused_and_nothing_is_changed(build: Build, tmp_path: Path) -> None:
    """One line says what is missing. With the right key the same files work."""
    world = build("stock")
    copy, key = tmp_path / "copy.db", world.settings.key_path
    assert backup(world, str(copy)).returncode == 0
    world.service.stop()
    restore(world, copy)
    right = key.read_text()
    key.write_text("11" * 32 + "\n")
    done = serve(world)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("claimsvc: the key file does not belong to this database")
    assert done.stderr.count("\n") == 1
    key.write_text(right)
    world.service.start()


def test_a_full_disk_leaves_nothing_behind(build: Build, tmp_path: Path) -> None:
    """One line says so, and a service that runs beside it does not notice."""
    world = build("stock")
    (tmp_path / "backups").mkdir()
    done = backup(world, str(tmp_path / "backups" / "copy.db"), most_bytes=TOO_LITTLE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"claimsvc: cannot back up {world.database}: ")
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "backups").iterdir()) == []
    with Client(world.port, world.accounts["device"]) as device:
        assert device.open_window(OPEN)["status"] == "SUCCESS"


def test_nothing_is_overwritten(build: Build, tmp_path: Path) -> None:
    """Neither an earlier backup nor another file."""
    world = build("stock")
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    done = backup(world, str(copy))
    assert (done.returncode, done.stderr) == (2, f"claimsvc: {copy} exists already; it is not overwritten\n")
    assert copy.read_text() == "precious"
