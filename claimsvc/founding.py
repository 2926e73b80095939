"""Create the first contents of a store: the first admin, shared logins, the demo's accounts. Needs no broker."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from claimsvc.app import open_service
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
from claimsvc.sealing import random_password
from claimsvc.service.execution import Service
from claimsvc.settings import CredentialStore, Settings

SEED_DEVICE = "Test Claiming Device"
SEED_TOKEN = "Eypdinl1gUF5fSerOPJF"  # noqa: S105 - the token in ThingsBoard's documentation
DEMO_ACCOUNTS = {
    # name of the account: its principal, prefixed with the tenant unless it is the default tenant
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
    """An account cannot be created."""


@immutable
class Account:
    """A login. `password` is None if the service does not keep the broker's logins."""

    username: str
    password: str | None


async def found(settings: Settings, username: str, tenant: str) -> Account | None:
    """Create the store and an admin of `tenant`. Return None if the admin exists. Raises as `open_service`."""
    async with open_service(settings, open_log("error", "text", sys.stderr)) as service:
        secret = Secret(SecretKind.PASSWORD, None)
        command = CreateUser(settings.mqtt.username, username, None, (), ("admin",), secret, tenant)
        (outcome,) = await service.execute_own([command])
    if isinstance(outcome, Refused) and outcome.reason is Reason.ALREADY_EXISTS:
        return None
    if not isinstance(outcome, Found) or not isinstance(outcome.item, User):
        raise FoundingError(outcome.message if isinstance(outcome, Refused) else "the admin was not created")
    return Account(outcome.item.principal, outcome.secret.text if outcome.secret else None)


async def found_shared(settings: Settings, name: str) -> Account:
    """Create a login that new devices share, or give it a new password. Raises as `open_service`."""
    password = random_password()
    secret = Secret(SecretKind.PASSWORD, password, is_generated=True)
    async with open_service(settings, open_log("error", "text", sys.stderr)) as service:
        await service.execute_own([AdmitShared(settings.mqtt.username, name, secret)])
    return Account(name, password if settings.credentials.store is not CredentialStore.NONE else None)


async def found_demo(settings: Settings, accounts_file: Path) -> dict[str, Account]:
    """Create the demo's accounts that do not exist, and return all of them. Raises as `open_service`, FoundingError.

    Their passwords are saved first, so that a crash leaves no account with an unknown password.
    """
    accounts = _accounts(accounts_file)
    caller = settings.mqtt.username

    def password(name: str) -> Secret:
        return Secret(SecretKind.PASSWORD, accounts[name].password, is_generated=True)

    def user(name: str, role: str, customer_id: str | None = None, tenant: str | None = None) -> Command:
        return CreateUser(caller, name, customer_id, (), (role,), password(name), tenant)

    async with open_service(settings, open_log("error", "text", sys.stderr)) as service:
        token = Secret(SecretKind.ACCESS_TOKEN, SEED_TOKEN)
        await _make(
            service,
            user("admin", "admin"),
            user("manager", "admin", tenant=MANAGEMENT_TENANT),
            user("operator", "operator"),
            CreateDevice(caller, "device", type="default", label=None, is_gateway=False, secret=password("device")),
            CreateDevice(caller, SEED_DEVICE, type="default", label=None, is_gateway=False, secret=token),
            AdmitShared(caller, BOOTSTRAP, password("bootstrap")),
            AdmitShared(caller, PROVISION, password("provision")),
        )
        if await _missing(service, FindDevice(caller, "gateway")):
            await _make(service, CreateGateway(caller, "gateway", password("gateway")))
        if await _missing(service, ReadUser(caller, "customer")):
            # The user comes last: a crash before it leaves only a customer without users.
            await _make(service, user("customer", "customer", await _customer(service, caller)))
    return accounts


async def _customer(service: Service, caller: str) -> str:
    (outcome,) = await service.execute_own([CreateCustomer(caller, "Demo Customer")])
    if not isinstance(outcome, Found) or not isinstance(outcome.item, Customer):
        raise FoundingError("the demo customer was not created")
    return outcome.item.id


async def _missing(service: Service, question: Command) -> bool:
    return isinstance((await service.execute_own([question]))[0], Refused)


async def _make(service: Service, *commands: Command) -> None:
    for outcome in await service.execute_own(commands):
        if isinstance(outcome, Refused) and outcome.reason is not Reason.ALREADY_EXISTS:
            raise FoundingError(f"a demo account was not created: {outcome.message}")


def _accounts(path: Path) -> dict[str, Account]:
    """Return the accounts of an earlier start; generate and save the missing ones."""
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
        accounts = {name: Account(entry["username"], entry["password"]) for name, entry in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FoundingError(f"{path} is damaged ({error}); delete the directory to start again") from None
    missing = {name: username for name, username in DEMO_ACCOUNTS.items() if name not in accounts}
    if missing:
        accounts |= {name: Account(username, random_password()) for name, username in missing.items()}
        written = {name: {"username": each.username, "password": each.password} for name, each in accounts.items()}
        write_private(path, json.dumps(written, indent=2) + "\n")
    return accounts
