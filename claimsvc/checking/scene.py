"""The stage of the examination: two throw-away accounts at the live broker, and the service's own login.

The accounts are users without any role, made and deleted over MQTT as any admin would. They are deleted also when the
examination is interrupted; what one left behind that was killed, the next one deletes.
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
"""Accounts older than this are of an examination that was killed."""
_USERS = "/claimsvc/users"


class NoAccountsError(CallerError):
    """The throw-away accounts cannot be made."""


@immutable(kw_only=True)
class Site:
    """The live system as the service's settings describe it. Sizes are bytes of payload."""

    service: CallerOptions
    root: str
    bootstrap: str
    """The shared login of devices that ask for credentials."""
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
    """A throw-away login."""

    username: str
    password: str = field(repr=False)


@immutable
class Scene:
    """Who is there: the service's login connected as `service`, and the two accounts."""

    site: Site
    service: Caller
    attacker: Account
    victim: Account
    client_id: str
    """A client id whose lane nobody uses."""

    def lane(self, account: Account, tail: str) -> str:
        """Return a topic in an account's lane."""
        return f"{self.site.root}/u/{account.username}/{tail}"

    def client_lane(self, login: str, tail: str) -> str:
        """Return a topic in the lane of the client id at a shared login."""
        return f"{self.site.root}/c/{login}/{self.client_id}/{tail}"

    def strange_ids(self) -> dict[str, str]:
        """Return client ids of a wrong login by which a careless grant would reach the lane of the client id."""
        return {
            "that same client id": self.client_id,
            "the client id `<id>/s`": f"{self.client_id}/s",
            f"the client id `{self.site.bootstrap}/<id>`": f"{self.site.bootstrap}/{self.client_id}",
        }

    def options(self, account: Account, client_id: str = "", will: Outbound | None = None) -> CallerOptions:
        """Return how an account connects."""
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
        """Wait until a client of the service's login hears a word of its own, and so all before it.

        Raises CallerError.
        """
        topic = self.lane(self.victim, f"response/{nonce()}")
        await judge.subscribe(topic)
        await judge.call(Outbound(topic, b""), topic)


def nonce() -> str:
    """Return a word nobody has used."""
    return secrets.token_hex(6)


def word(mark: str) -> bytes:
    """Return a payload that holds `mark`: an audit event as its readers know them, and no request of any kind."""
    return to_json({"event": "claimsvc_check", "time": time.time_ns() // 1_000_000, "detail": mark})


@asynccontextmanager
async def set_up(site: Site, service: Caller, tell: Callable[[Finding], None]) -> AsyncIterator[Scene]:
    """Make the accounts, and delete them in the end, however it ends; `tell` hears where that fails.

    Raises NoAccountsError or CallerError.
    """
    if not site.keeps_logins:
        raise NoAccountsError("credentials.store is `none`: the service cannot make throw-away logins")
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
        raise NoAccountsError(f"the service makes no account: {answer.told}")
    return Account(answer.body["principal"], answer.body["password"])


async def _delete(site: Site, names: list[str]) -> Finding | None:
    """Delete accounts, on a connection of its own: the examination may have cost the first one.

    What the service does not answer waits for it at the broker, without end: so each is asked for, whatever becomes
    of the one before. Returns what went wrong.
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
    change = f"DELETE {_USERS}/<name> of {' and '.join(names)}; the next `claimsvc check` does it, ten minutes on"
    return Finding("accounts", "the throw-away accounts are deleted", Verdict.WARN, "; ".join(troubles), change)


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
