"""`claimsvc group|role|gateway|tenant ...`: manage groups, roles, gateways and tenants."""

from __future__ import annotations

from typing import Annotated

import typer

from claimsvc.cli.operators.connecting import Operator, command
from claimsvc.cli.operators.device_commands import login_lines
from claimsvc.cli.operators.lane import segment
from claimsvc.cli.operators.listing import All, Limit, show_listing
from claimsvc.cli.operators.screen import Column

groups = typer.Typer(help="Groups of users with the same roles.", no_args_is_help=True)
roles = typer.Typer(help="Roles: named sets of permissions.", no_args_is_help=True)
gateways = typer.Typer(help="Gateways: devices that speak for others.", no_args_is_help=True)
tenants = typer.Typer(help="Tenants; for admins of the tenant `management`.", no_args_is_help=True)

_NAME = Column("Name", lambda item: item["name"], whole=True)
GROUP_COLUMNS = (_NAME, Column("Roles", lambda item: item["roles"], whole=True))
ROLE_COLUMNS = (_NAME, Column("Permissions", lambda item: item["permissions"], whole=True))
GATEWAY_COLUMNS = (
    _NAME,
    Column("Login", lambda item: item["principal"], whole=True),
    Column("Id", lambda item: item["id"], wide=True, whole=True),
)
TENANT_COLUMNS = (
    Column("Id", lambda item: item["id"], whole=True),
    Column("Title", lambda item: item["title"], whole=True),
)

ItemName = Annotated[str, typer.Argument(metavar="NAME")]


@command(groups, "add")
async def add_group(
    operator: Operator,
    name: ItemName,
    *,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role; can be repeated.")] = None,
) -> None:
    """Create a group."""
    made = await operator.lane.call("POST", "/claimsvc/groups", {"name": name, "roles": role or []})
    operator.screen.result(made, [("Group", made["name"]), ("Roles", made["roles"])])


@command(groups, "list")
async def list_groups(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List groups."""
    await show_listing(operator, "/claimsvc/groups", "groups", GROUP_COLUMNS, None if everything else limit)


@command(roles, "add")
async def add_role(
    operator: Operator,
    name: ItemName,
    *,
    permission: Annotated[list[str], typer.Option("--permission", help="A permission; can be repeated.")],
) -> None:
    """Create a role.

    Permissions: DEVICE:CLAIM_DEVICES, ROLE_DEVICE_CONTROL_ADMIN, ROLE_DEVICE_CONTROL_READ, TENANT_ADMIN.
    """
    made = await operator.lane.call("POST", "/claimsvc/roles", {"name": name, "permissions": permission})
    operator.screen.result(made, [("Role", made["name"]), ("Permissions", made["permissions"])])


@command(roles, "list")
async def list_roles(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List the tenant's own roles. The roles customer, operator, viewer and admin are built in."""
    await show_listing(operator, "/claimsvc/roles", "roles", ROLE_COLUMNS, None if everything else limit)


@command(gateways, "add")
async def add_gateway(operator: Operator, name: ItemName) -> None:
    """Create a gateway and its login, shown once. A device that exists becomes a gateway and keeps its login."""
    made = await operator.lane.call("POST", "/claimsvc/gateways", {"name": name})
    operator.screen.result(made, login_lines({**made, "principal": None, "username": made["principal"]}))


@command(gateways, "list")
async def list_gateways(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List gateways."""
    await show_listing(operator, "/claimsvc/gateways", "gateways", GATEWAY_COLUMNS, None if everything else limit)


@command(gateways, "bind")
async def bind_devices(
    operator: Operator,
    gateway: Annotated[str, typer.Argument(metavar="GATEWAY")],
    device: Annotated[list[str], typer.Argument(metavar="DEVICE...")],
) -> None:
    """Allow a gateway to speak for existing devices."""
    bound = await operator.lane.call("PUT", f"/claimsvc/gateways/{segment(gateway)}/devices", device)
    operator.screen.done(bound, f"{gateway} may speak for {', '.join(device)}.")


@command(tenants, "add")
async def add_tenant(
    operator: Operator,
    tenant: Annotated[str, typer.Argument(metavar="ID")],
    *,
    title: Annotated[str, typer.Option("--title", help="A human-readable title.")] = "",
) -> None:
    """Create a tenant. Create its first admin with `user add --tenant ID --role admin`."""
    made = await operator.lane.call("POST", "/claimsvc/tenants", {"id": tenant, "title": title})
    operator.screen.result(made, [("Tenant", made["id"]), ("Title", made["title"])])


@command(tenants, "list")
async def list_tenants(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List tenants."""
    await show_listing(operator, "/claimsvc/tenants", "tenants", TENANT_COLUMNS, None if everything else limit)
