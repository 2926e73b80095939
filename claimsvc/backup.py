"""A backup: the database in one file, and the key without which nobody can use it, beside it or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import getpid, link
from pathlib import Path

from claimsvc.files import sync_directory, write_private
from claimsvc.immutable import immutable
from claimsvc.store.sqlite.sqlite_files import copy


class BackupError(Exception):
    """The backup cannot be made as asked for; nothing was changed."""


@immutable
class Backup:
    """What was written. `key` is the copy of the key file, where one was wanted."""

    path: Path
    bytes: int
    schema: int
    key: Path | None


def back_up(
    database: Path, key: Path, target: Path, key_directory: Path | None, progress: Callable[[int, int], None]
) -> Backup:
    """Write a backup to `target`, and a copy of the key file into `key_directory` if one is given.

    Nothing is ever overwritten, and a file under its final name is whole. `progress` is told the pages done and all
    of them. Raises BackupError, StoreError or OSError.
    """
    if not database.exists():
        raise BackupError(f"there is no database {database}")
    key_copy = key_directory / key.name if key_directory is not None else None
    for path in (target, *((key_copy,) if key_copy else ())):
        if path.exists():
            raise BackupError(f"{path} exists already, and nothing is overwritten")
    if not target.parent.is_dir():
        raise BackupError(f"there is no directory {target.parent}")
    if key_copy is not None and not key.exists():
        raise BackupError(f"there is no key file {key}")
    with _draft_of(target) as draft, ExitStack() as on_failure:
        schema = copy(database, draft, progress)
        if key_copy is not None:
            on_failure.callback(key_copy.unlink, missing_ok=True)
            write_private(key_copy, key.read_text())
        try:
            link(draft, target)  # unlike a rename it fails where somebody was faster
        except FileExistsError:
            raise BackupError(f"{target} exists already, and nothing is overwritten") from None
        on_failure.pop_all()
    sync_directory(target.parent)
    return Backup(target, target.stat().st_size, schema, key_copy)


@contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """Give a name beside `target`, and remove in the end what lies there, with what SQLite put beside it."""
    draft = target.with_name(f".{target.name}.{getpid()}.part")
    try:
        yield draft
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
