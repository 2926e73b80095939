"""What an examination says: one finding after the other, each with what was seen and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from claimsvc.immutable import immutable


class Verdict(StrEnum):
    """How a thing stands. `UNSEEN`: it could not be examined, and the finding says why."""

    PASS = "pass"  # noqa: S105 - a word
    WARN = "warn"
    FAIL = "fail"
    UNSEEN = "unseen"


@immutable
class Finding:
    """One thing that was examined. `name` is what ought to be so."""

    area: str
    name: str
    verdict: Verdict
    seen: str = ""
    change: str = ""
    """What to do about it; empty where nothing needs doing."""


class UnseenError(Exception):
    """A thing could not be examined; the text says why. `change` is what would help."""

    def __init__(self, why: str, change: str = "") -> None:
        super().__init__(why)
        self.change = change


@immutable
class Seen:
    """What a probe saw: troubles and what to do about them, or none."""

    troubles: Sequence[str] = ()
    change: str = ""
    seen: str = ""
    as_warning: bool = False
    """Whether the troubles are worth a word only."""


def passed_or(
    area: str, name: str, troubles: Iterable[str], change: str, *, seen: str = "", as_warning: bool = False
) -> Finding:
    """Return a finding that passes where there is no trouble, and names each one otherwise."""
    found = tuple(troubles)
    if not found:
        return Finding(area, name, Verdict.PASS, seen)
    return Finding(area, name, Verdict.WARN if as_warning else Verdict.FAIL, "; ".join(found), change)


def unseen(area: str, name: str, why: object, change: str = "") -> Finding:
    """Return a finding about what could not be examined."""
    return Finding(area, name, Verdict.UNSEEN, str(why), change)
