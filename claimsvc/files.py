"""Writing small files atomically: after a crash or a power cut they are complete or unchanged."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Create its directory if it is missing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, text, 0o600)


def replace_file(path: Path, text: str, mode: int) -> None:
    """Write a file in one step. An existing file keeps its mode, owner and group. Raises OSError."""
    _replace(path, text, path.stat().st_mode & 0o777 if path.exists() else mode)


def _replace(path: Path, text: str, mode: int) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        os.fchmod(file.fileno(), mode)
        if path.exists():
            was = path.stat()
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
