"""The setup of the live checks: two temporary accounts on the live broker, and the service's own login.

The accounts are users without a role, created and deleted over MQTT as an admin would. They are deleted even if the
checks are interrupted. Accounts left behind by a killed run are deleted by the next run.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import field, replace
from urllib.parse import quote

from pydantic_core import to_json

from claimsvc.checking.calls import Calls, NotAnsweredError
from claimsvc.checking.finding import Finding, Verdict
from claimsvc.dialects.message import Outbound
from claimsvc.immutable import immutable
from claimsvc.mqtt.caller import Caller, CallerError, CallerOptions, open_caller

PREFIX = "claimsvc-check-"
_LEFT_BEHIND_S = 600
"""Accounts older than this were left behind by a killed run."""
_USERS = "/claimsvc/users"


class NoAccountsError(CallerError):
    """The temporary accounts cannot be created."""


@immutable(kw_only=True)
class Site:
    """The live system as the service's settings describe it. Sizes are bytes of payload."""

    service: CallerOptions
    root: str
    bootstrap: str
    """The shared login of devices that request credentials."""
    provision: str
    """The shared login of devices that are provisioned by key."""
    tenant: str
    expects_plugin: bool
    keeps_logins: bool
    gateway_bytes: int
    largest_bytes: int

    @property
    def service_name(self) -> str:
        """The principal of the service."""
        return self.service.username or ""


@immutable
class Account:
    """A temporary login."""

    username: str
    password: str = field(repr=False)


@immutable
class Scene:
    """The connections and accounts of the checks. `service` is connected with the service's login."""

    site: Site
    service: Caller
    attacker: Account
    victim: Account
    client_id: str
    """A client id that no other client uses."""

    def lane(self, account: Account, tail: str) -> str:
        """Return a topic in an account's lane."""
        return f"{self.site.root}/u/{account.username}/{tail}"

    def client_lane(self, login: str, tail: str) -> str:
        """Return a topic in the lane of a shared login and `client_id`."""
        return f"{self.site.root}/c/{login}/{self.client_id}/{tail}"

    def strange_ids(self) -> dict[str, str]:
        """Return client ids with which another login could reach the lane of `client_id` through a careless ACL."""
        return {
            "that same client id": self.client_id,
            "the client id `<id>/s`": f"{self.client_id}/s",
            f"the client id `{self.site.bootstrap}/<id>`": f"{self.site.bootstrap}/{self.client_id}",
        }

    def options(self, account: Account, client_id: str = "", will: Outbound | None = None) -> CallerOptions:
        """Return the options to connect as an account."""
        username, password = account.username, account.password
        return replace(self.site.service, username=username, password=password, client_id=client_id, will=will)

    @asynccontextmanager
    async def entered(
        self, account: Account, client_id: str = "", will: Outbound | None = None
    ) -> AsyncIterator[Calls]:
        """Connect as an account. Raises CallerError."""
        async with open_caller(self.options(account, client_id, will)) as caller:
            yield Calls(caller, self.site.root, account.username)

    async def settled(self, judge: Caller) -> None:
        """Wait until `judge` receives a message that it publishes itself, and so everything sent before it.

        Raises CallerError.
        """
        topic = self.lane(self.victim, f"response/{nonce()}")
        await judge.subscribe(topic)
        await judge.call(Outbound(topic, b""), topic)


def nonce() -> str:
    """Return a random word."""
    return secrets.token_hex(6)


def word(mark: str) -> bytes:
    """Return a payload that contains `mark`. It is a valid audit event and an invalid request."""
    return to_json({"event": "claimsvc_check", "time": time.time_ns() // 1_000_000, "detail": mark})


@asynccontextmanager
async def set_up(site: Site, service: Caller, tell: Callable[[Finding], None]) -> AsyncIterator[Scene]:
    """Create the accounts, and delete them at the end in any case; a failure to do so is a finding for `tell`.

    Raises NoAccountsError or CallerError.
    """
    if not site.keeps_logins:
        raise NoAccountsError("credentials.store is `none`: the service cannot create temporary logins")
    calls = Calls(service, site.root, site.service_name)
    await _delete_left_behind(calls)
    stem = f"{PREFIX}{int(time.time())}-{secrets.token_hex(4)}"
    names = [f"{stem}-attacker", f"{stem}-victim"]
    try:
        attacker, victim = [await _make(calls, name) for name in names]
        yield Scene(site, service, attacker, victim, f"{stem}-client")
    finally:
        if (trouble := await _delete(site, names)) is not None:
            tell(trouble)


async def _make(calls: Calls, username: str) -> Account:
    answer = await calls.ask("POST", _USERS, {"username": username})
    if answer.status != 201:  # noqa: PLR2004 - HTTP's
        raise NoAccountsError(f"the service refuses to create an account: {answer.told}")
    return Account(answer.body["principal"], answer.body["password"])


async def _delete(site: Site, names: list[str]) -> Finding | None:
    """Delete the accounts over a new connection, because a check may have lost the first one. Return a failure.

    A request without an answer stays queued on the broker until the service handles it. So the request for each
    account is sent even if the one before got no answer.
    """
    troubles: list[str] = []
    try:
        async with open_caller(site.service) as caller:
            calls = Calls(caller, site.root, site.service_name)
            troubles += [str(error) for name in names if (error := await _trouble_deleting(calls, name)) is not None]
    except CallerError as error:
        troubles.append(str(error))
    if not troubles:
        return None
    change = f"run `claimsvc check` again in ten minutes, or DELETE {_USERS}/<name> for {' and '.join(names)}"
    return Finding("accounts", "the temporary accounts are deleted", Verdict.WARN, "; ".join(troubles), change)


async def _trouble_deleting(calls: Calls, name: str) -> CallerError | None:
    try:
        answer = await calls.ask("DELETE", f"{_USERS}/{quote(name, safe='')}", expires_s=None)
    except CallerError as error:
        return error
    return None if answer.status in {200, 404} else NotAnsweredError(f"{name}: {answer.told}")


async def _delete_left_behind(calls: Calls) -> None:
    page = await calls.ask("GET", f"{_USERS}?after={PREFIX}&limit=1000")
    users = page.body.get("users", ()) if isinstance(page.body, dict) else ()
    for user in users:
        name = str(user.get("username", ""))
        made_at, _, rest = name.removeprefix(PREFIX).partition("-")
        if not name.startswith(PREFIX) or not made_at.isdigit() or not rest:
            break  # the listing is in order of names
        if time.time() - int(made_at) > _LEFT_BEHIND_S:
            await calls.ask("DELETE", f"{_USERS}/{quote(name, safe='')}")
