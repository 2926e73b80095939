"""How an examination tidies up where the service does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from claimsvc.checking import scene
from claimsvc.checking.calls import Answer
from claimsvc.checking.finding import Verdict
from claimsvc.mqtt.caller import CallerOptions, CallTimeoutError

SITE = scene.Site(
    bootstrap="bootstrap",
    provision="provision",
    service=CallerOptions(host="nowhere", port=1, username="claimsvc", password=None, tls=None),
    root="claimsvc",
    tenant="default",
    expects_plugin=False,
    keeps_logins=True,
    gateway_bytes=1,
    largest_bytes=1,
)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        pytest.param(CallTimeoutError("waited in vain"), "waited in vain", id="no answer"),
        pytest.param(Answer(500, {"message": "internal"}), "attacker: 500 internal", id="an odd answer"),
        pytest.param(Answer(404, {}), None, id="it is gone already"),
    ],
)
async def test_each_account_is_asked_to_be_deleted_whatever_becomes_of_the_other(
    first: Answer | Exception, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked waits at the broker, so the second account must not stay because of the first."""
    asked: list[str] = []

    class Calls:
        """A service that answers the first call so, and the second well."""

        def __init__(self, *_: Any) -> None:
            pass

        async def ask(self, method: str, path: str, *, expires_s: int | None) -> Answer:
            asked.append(f"{method} {path}")
            assert expires_s is None
            if len(asked) == 1 and isinstance(first, Exception):
                raise first
            return first if len(asked) == 1 and isinstance(first, Answer) else Answer(200, {})

    @asynccontextmanager
    async def open_caller(options: CallerOptions) -> AsyncIterator[None]:
        assert options is SITE.service
        yield None

    monkeypatch.setattr(scene, "open_caller", open_caller)
    monkeypatch.setattr(scene, "Calls", Calls)
    trouble = await scene._delete(SITE, ["attacker", "victim"])  # noqa: SLF001 - what tidies up
    assert asked == ["DELETE /claimsvc/users/attacker", "DELETE /claimsvc/users/victim"]
    assert (trouble and (trouble.verdict, trouble.seen)) == (told and (Verdict.WARN, told))
