"""The decorator of all values: immutable for the type checker and in the tests, a plain dataclass at run time.

Creating a frozen dataclass of eight fields takes five times as long as a plain one, and each message creates twenty.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform, overload

T = TypeVar("T")

FROZEN = bool(os.environ.get("CLAIMS_FROZEN_VALUES"))
"""The tests set this variable, so that an assignment to a field fails."""


@overload
def immutable(cls: type[T], /) -> type[T]: ...
@overload
def immutable(*, kw_only: bool = ...) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def immutable(cls: type[T] | None = None, /, *, kw_only: bool = False) -> type[T] | Callable[[type[T]], type[T]]:
    """Return `cls` as a dataclass with slots, equality and a hash."""
    wrap = dataclass(frozen=FROZEN, slots=True, kw_only=kw_only, unsafe_hash=not FROZEN)
    return wrap if cls is None else wrap(cls)
