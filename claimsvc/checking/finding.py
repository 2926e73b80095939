"""Findings of the checks: what was checked, the verdict, what was seen and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from claimsvc.immutable import immutable


class Verdict(StrEnum):
    """The result of a check. `SKIPPED`: it could not be run; the finding says why."""

    PASS = "pass"  # noqa: S105 - a word
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@immutable
class Finding:
    """The result of one check. `name` says what should be true."""

    area: str
    name: str
    verdict: Verdict
    seen: str = ""
    change: str = ""
    """The fix; empty if there is nothing to do."""


class SkippedError(Exception):
    """A check could not be run; the text says why. `change` says what would help."""

    def __init__(self, why: str, change: str = "") -> None:
        super().__init__(why)
        self.change = change


@immutable
class Seen:
    """The result of a check: its problems, if any, and how to fix them."""

    troubles: Sequence[str] = ()
    change: str = ""
    seen: str = ""
    as_warning: bool = False
    """Problems are warnings, not failures."""


def passed_or(
    area: str, name: str, troubles: Iterable[str], change: str, *, seen: str = "", as_warning: bool = False
) -> Finding:
    """Return a finding that passes if there are no problems, and otherwise names each one."""
    found = tuple(troubles)
    if not found:
        return Finding(area, name, Verdict.PASS, seen)
    return Finding(area, name, Verdict.WARN if as_warning else Verdict.FAIL, "; ".join(found), change)


def skipped(area: str, name: str, why: object, change: str = "") -> Finding:
    """Return a finding about a check that could not be run."""
    return Finding(area, name, Verdict.SKIPPED, str(why), change)
