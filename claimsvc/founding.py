"""What a store begins with: its first admin, and the demo's accounts. No broker is needed for either."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from claimsvc.app import open_pipeline
from claimsvc.core.accounts import AdmitShared, CreateCustomer, CreateUser, ReadUser
from claimsvc.core.command import Command
from claimsvc.core.decision import Found, Refused
from claimsvc.core.devices import CreateDevice, CreateGateway, FindDevice
from claimsvc.core.model import Customer, User
from claimsvc.core.policy import BOOTSTRAP, MANAGEMENT_TENANT, PROVISION
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.files import write_private
from claimsvc.immutable import immutable
from claimsvc.log import open_log
from claimsvc.pipeline import Pipeline
from claimsvc.sealing import random_password
from claimsvc.settings import CredentialStore, Settings

SEED_DEVICE = "Test Claiming Device"
SEED_TOKEN = "Eypdinl1gUF5fSerOPJF"  # noqa: S105 - the token the seed prints
DEMO_ACCOUNTS = {
    # name of the account: its principal, outside the default tenant with the tenant in front
    "admin": "admin",
    "manager": f"{MANAGEMENT_TENANT}%2Fmanager",
    "customer": "customer",
    "operator": "operator",
    "device": "device",
    "gateway": "gateway",
    "bootstrap": BOOTSTRAP,
    "provision": PROVISION,
}


class FoundingError(Exception):
    """What should be made cannot be."""


@immutable
class Account:
    """A login. `password` is None where somebody else keeps the broker's logins."""

    username: str
    password: str | None


async def found(settings: Settings, username: str, tenant: str) -> Account | None:
    """Make the store and an admin of `tenant`; None when that admin exists. Raises as `open_pipeline`."""
    async with open_pipeline(settings, open_log("error", "text", sys.stderr)) as pipeline:
        secret = Secret(SecretKind.PASSWORD, None)
        command = CreateUser(settings.mqtt.username, username, None, (), ("admin",), secret, tenant)
        (outcome,) = await pipeline.execute([command])
    if isinstance(outcome, Refused) and outcome.reason is Reason.ALREADY_EXISTS:
        return None
    if not isinstance(outcome, Found) or not isinstance(outcome.item, User):
        raise FoundingError(outcome.message if isinstance(outcome, Refused) else "no admin was made")
    return Account(outcome.item.principal, outcome.secret.text if outcome.secret else None)


async def found_shared(settings: Settings, name: str) -> Account:
    """Make a login that new devices share, with a new password. Raises as `open_pipeline`."""
    password = random_password()
    secret = Secret(SecretKind.PASSWORD, password, is_generated=True)
    async with open_pipeline(settings, open_log("error", "text", sys.stderr)) as pipeline:
        await pipeline.execute([AdmitShared(settings.mqtt.username, name, secret)])
    return Account(name, password if settings.credentials.store is not CredentialStore.NONE else None)


async def found_demo(settings: Settings, accounts_file: Path) -> dict[str, Account]:
    """Make the demo's accounts, whatever of them is missing, and return them.

    Their passwords are written down first, so that a crash in between leaves no account without one.
    Raises as `open_pipeline`, and FoundingError.
    """
    accounts = _accounts(accounts_file)
    service = settings.mqtt.username

    def password(name: str) -> Secret:
        return Secret(SecretKind.PASSWORD, accounts[name].password, is_generated=True)

    def user(name: str, role: str, customer_id: str | None = None, tenant: str | None = None) -> Command:
        return CreateUser(service, name, customer_id, (), (role,), password(name), tenant)

    async with open_pipeline(settings, open_log("error", "text", sys.stderr)) as pipeline:
        token = Secret(SecretKind.ACCESS_TOKEN, SEED_TOKEN)
        await _make(
            pipeline,
            user("admin", "admin"),
            user("manager", "admin", tenant=MANAGEMENT_TENANT),
            user("operator", "operator"),
            CreateDevice(service, "device", type="default", label=None, is_gateway=False, secret=password("device")),
            CreateDevice(service, SEED_DEVICE, type="default", label=None, is_gateway=False, secret=token),
            AdmitShared(service, BOOTSTRAP, password("bootstrap")),
            AdmitShared(service, PROVISION, password("provision")),
        )
        if await _missing(pipeline, FindDevice(service, "gateway")):
            await _make(pipeline, CreateGateway(service, "gateway", password("gateway")))
        if await _missing(pipeline, ReadUser(service, "customer")):
            # The user comes last: a crash before it only leaves a customer nobody belongs to.
            await _make(pipeline, user("customer", "customer", await _customer(pipeline, service)))
    return accounts


async def _customer(pipeline: Pipeline, service: str) -> str:
    (outcome,) = await pipeline.execute([CreateCustomer(service, "Demo Customer")])
    if not isinstance(outcome, Found) or not isinstance(outcome.item, Customer):
        raise FoundingError("no demo customer was made")
    return outcome.item.id


async def _missing(pipeline: Pipeline, question: Command) -> bool:
    return isinstance((await pipeline.execute([question]))[0], Refused)


async def _make(pipeline: Pipeline, *commands: Command) -> None:
    for outcome in await pipeline.execute(commands):
        if isinstance(outcome, Refused) and outcome.reason is not Reason.ALREADY_EXISTS:
            raise FoundingError(f"a demo account: {outcome.message}")


def _accounts(path: Path) -> dict[str, Account]:
    """Return the accounts of an earlier start, or fresh ones written down."""
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
        accounts = {name: Account(entry["username"], entry["password"]) for name, entry in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FoundingError(f"{path} is damaged ({error}); remove the directory to begin afresh") from None
    missing = {name: username for name, username in DEMO_ACCOUNTS.items() if name not in accounts}
    if missing:
        accounts |= {name: Account(username, random_password()) for name, username in missing.items()}
        written = {name: {"username": each.username, "password": each.password} for name, each in accounts.items()}
        write_private(path, json.dumps(written, indent=2) + "\n")
    return accounts
