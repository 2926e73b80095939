"""`claimsvc device ...`: create, list, show and delete devices, and make them claimable."""

from __future__ import annotations

import secrets
import time
from collections.abc import Coroutine
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from claimsvc.cli.operators.asking import confirm
from claimsvc.cli.operators.connecting import Operator, Yes, command
from claimsvc.cli.operators.failing import UnusableError
from claimsvc.cli.operators.lane import CallRefusedError, segment
from claimsvc.cli.operators.listing import All, Limit, show_listing
from claimsvc.cli.operators.options import Name, duration_ms
from claimsvc.cli.operators.screen import Column, when

KEY_BYTES = 16
"""128 bits: such a key cannot be guessed, even without lockouts."""
_TOKEN_BYTES = 15
NOBODY = "13814000-1dd2-11b2-8080-808080808080"
"""ThingsBoard's null id."""
ONCE = "   (shown once)"

group = typer.Typer(help="Devices: create, list, show, delete, make claimable.", no_args_is_help=True)

COLUMNS = (
    Column("Name", lambda item: item["name"], whole=True),
    Column("Type", lambda item: item["type"]),
    Column("Label", lambda item: item["label"], wide=True),
    Column("Created", lambda item: when(item["createdTime"]), wide=True),
    Column("Claimed", lambda item: when(item["claimedTime"]) if item["customerId"] else None),
    Column("By customer", lambda item: item["customerId"], wide=True, whole=True),
    Column("Gateway", lambda item: "is one" if item["gateway"] else "behind one" if item["gatewayId"] else None),
    # The login differs from the name for a name with `/`, another tenant or a registered device.
    Column("Login", lambda item: "its name" if item["principal"] == item["name"] else item["principal"]),
)

GROUP_COLUMNS = (
    Column("Path", lambda item: item["path"], whole=True),
    Column("Id", lambda item: item["id"], whole=True),
)

Replace = Annotated[
    bool, typer.Option("--replace", help="Replace a key that is still valid; labels printed with it stop working.")
]

Expires = Annotated[str, typer.Option("--expires", help="How long the key is valid: 90s, 15min, 12h, 30d, 2w.")]


@command(group, "add")
async def add_device(
    operator: Operator,
    name: Name,
    *,
    type_: Annotated[str, typer.Option("--type", help="The device's type.")] = "default",
    label: Annotated[str | None, typer.Option("--label", help="A human-readable label.")] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Create a gateway: it may speak for other devices.")
    ] = False,
    access_token: Annotated[
        bool, typer.Option("--access-token", help="Log in with an access token; needs the broker's plugin.")
    ] = False,
) -> None:
    """Create a device and its login. The login is shown once."""
    token = secrets.token_urlsafe(_TOKEN_BYTES) if access_token else None
    path = f"/api/device?accessToken={token}" if token else "/api/device"
    body = {"name": name, "type": type_, "label": label, "additionalInfo": {"gateway": gateway}}
    device = await operator.lane.call("POST", path, body)
    id_ = device["id"]["id"]
    login = {"accessToken": token} if token else await _login(operator, id_)
    made = {"name": name, "id": id_, **login}
    operator.screen.result(made, login_lines(made))


async def _login(operator: Operator, device_id: str) -> dict[str, object]:
    found = await operator.lane.call("GET", f"/api/device/{device_id}/credentials")
    if found["credentialsValue"] is None:
        return {"login": "create it on the broker: this service keeps no logins"}
    basic = from_json(found["credentialsValue"])
    return {"username": basic["userName"], "password": basic["password"]}


_LOGIN_TITLES = {
    "name": "Device",
    "id": "Id",
    "principal": "Principal",
    "username": "Username",
    "password": "Password",
    "accessToken": "Access token",
    "login": "Login",
}
_SECRET = {"password", "accessToken"}


def login_lines(made: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the lines that show something just created, with its login."""
    present = [(member, title) for member, title in _LOGIN_TITLES.items() if made.get(member) is not None]
    return [(title, f"{made[member]}{ONCE if member in _SECRET else ''}") for member, title in present]


@command(group, "list")
async def list_devices(
    operator: Operator,
    *,
    prefix: Annotated[str, typer.Option("--prefix", help="Only devices whose names start with this.")] = "",
    group_id: Annotated[str, typer.Option("--group", help="Only devices in the group with this id.")] = "",
    after: Annotated[str, typer.Option("--after", help="Start after this name.")] = "",
    limit: Limit = 100,
    everything: All = False,
) -> None:
    """List devices by name."""
    query = {"prefix": prefix, "group": group_id, "after": after}
    path = "/claimsvc/devices?" + "&".join(f"{key}={segment(value)}" for key, value in query.items() if value)
    await show_listing(operator, path, "devices", COLUMNS, None if everything else limit)


@command(group, "groups")
async def list_device_groups(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List groups of devices. `import` creates them."""
    path = "/claimsvc/deviceGroups"
    await show_listing(operator, path, "deviceGroups", GROUP_COLUMNS, None if everything else limit)


@command(group, "show")
async def show_device(operator: Operator, name: Name) -> None:
    """Show a device with its attributes."""
    lane = operator.lane
    device = await lane.device(name)
    path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/attributes/SERVER_SCOPE"
    attributes = await lane.call("GET", path)
    operator.screen.result({**device, "attributes": attributes}, [*_lines(device), *_attribute_lines(attributes)])


def _lines(device: dict[str, Any]) -> list[tuple[str, object]]:
    owner = device["customerId"]["id"]
    info = device["additionalInfo"]
    return [
        ("Device", device["name"]),
        ("Id", device["id"]["id"]),
        ("Type", device["type"]),
        ("Label", device["label"]),
        ("Tenant", device["tenantId"]["id"]),
        ("Gateway", bool(info.get("gateway"))),
        ("Created", when(device["createdTime"])),
        ("Customer", None if owner == NOBODY else owner),
        ("Claimed", when(info.get("claimedTime"))),
    ]


def _attribute_lines(attributes: list[dict[str, Any]]) -> list[tuple[str, object]]:
    return [(f"Attribute {each['key']}", each["value"]) for each in attributes]


@command(group, "delete")
def delete_device(operator: Operator, name: Name, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """Delete a device with its claim windows, attributes and logins."""
    confirm(f"Delete device {name}? Its logins stop working.", yes=yes)

    async def delete() -> None:
        await operator.lane.call("DELETE", f"/api/device/{await operator.lane.device_id(name)}")
        operator.screen.done({"deleted": name}, f"Deleted {name}.")

    return delete()


@command(group, "secret")
async def make_secret(operator: Operator, name: Name, *, expires: Expires = "30d", replace: Replace = False) -> None:
    """Create a secret key to claim the device with. The key is shown once.

    Fails if the device has a valid key already, unless you pass --replace.
    """
    made = await open_server_window(operator, name, expires, replace=replace)
    lines = [
        ("Device", name),
        ("Secret key", f"{made['secretKey']}{ONCE}"),
        ("Valid until", when(made["expirationTime"])),
    ]
    operator.screen.result(made, lines)


async def open_server_window(operator: Operator, name: str, expires: str, *, replace: bool) -> dict[str, Any]:
    """Open a server window with a key of 128 random bits. Raises UnusableError, and as `Lane.call`.

    A valid key is replaced only if `replace` is True.
    """
    lasts_ms = duration_ms(expires, "--expires")
    if not lasts_ms:
        raise UnusableError("--expires: must be longer than 0")
    key = secrets.token_urlsafe(KEY_BYTES)
    expires_at_ms = time.time_ns() // 1_000_000 + lasts_ms
    data = {"claimingData": {"secretKey": key, "expirationTime": expires_at_ms}}
    try:
        await _set_attributes(operator, name, data, query="?replace=true" if replace else "")
    except CallRefusedError as refused:
        if refused.code != "key_exists":
            raise
        text = f"{name} has a valid claim key, which may be printed on a label: pass --replace to replace it"
        raise CallRefusedError(refused.status, {"message": text, "error": refused.code}) from None
    return {"name": name, "secretKey": key, "expirationTime": expires_at_ms}


@command(group, "allow")
async def allow_claiming(
    operator: Operator,
    name: Name,
    *,
    deny: Annotated[bool, typer.Option("--deny", help="Forbid it instead.")] = False,
) -> None:
    """Allow a device to open claim windows. Needed only if `claim.allow_by_default` is false."""
    await _set_attributes(operator, name, {"claimingAllowed": not deny})
    may = "may not" if deny else "may"
    operator.screen.done({"name": name, "claimingAllowed": not deny}, f"{name} {may} open claim windows.")


async def _set_attributes(operator: Operator, name: str, attributes: dict[str, Any], *, query: str = "") -> None:
    device_id = await operator.lane.device_id(name)
    path = f"/api/plugins/telemetry/DEVICE/{device_id}/attributes/SERVER_SCOPE{query}"
    await operator.lane.call("POST", path, attributes)
