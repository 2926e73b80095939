"""`claimsvc customer|user ...`: manage customers, who own devices, and users, who log in."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from claimsvc.cli.operators.asking import ask_secret, confirm
from claimsvc.cli.operators.connecting import Operator, Yes, command
from claimsvc.cli.operators.device_commands import login_lines
from claimsvc.cli.operators.failing import UnusableError
from claimsvc.cli.operators.lane import segment
from claimsvc.cli.operators.listing import All, Limit, show_listing
from claimsvc.cli.operators.screen import Column

customers = typer.Typer(help="Customers: the owners of claimed devices.", no_args_is_help=True)
users = typer.Typer(help="Users: persons and programs with a login.", no_args_is_help=True)

_CUSTOMERS, _USERS = "/claimsvc/customers", "/claimsvc/users"

CUSTOMER_COLUMNS = (
    Column("Id", lambda item: item["id"], whole=True),
    Column("Title", lambda item: item["title"], whole=True),
    Column("Tenant", lambda item: item["tenantId"], wide=True),
)
USER_COLUMNS = (
    Column("Username", lambda item: item["username"], whole=True),
    Column("Roles", lambda item: item["roles"]),
    Column("Groups", lambda item: item["groups"]),
    Column("Customer", lambda item: item["customerId"], whole=True),
    Column("Login", lambda item: item["principal"], wide=True, whole=True),
    Column("Tenant", lambda item: item["tenantId"], wide=True),
)

CustomerId = Annotated[str, typer.Argument(metavar="ID", help="The customer's id, from `customer list`.")]
Username = Annotated[str, typer.Argument(metavar="USERNAME")]
OfCustomer = Annotated[str | None, typer.Option("--customer", metavar="ID", help="The customer the user belongs to.")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="A group; can be repeated.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role; can be repeated.")]
AskPassword = Annotated[bool, typer.Option("--ask-password", help="Prompt for a password instead of generating one.")]


@command(customers, "add")
async def add_customer(operator: Operator, title: Annotated[str, typer.Argument(metavar="TITLE")]) -> None:
    """Create a customer."""
    made = await operator.lane.call("POST", _CUSTOMERS, {"title": title})
    operator.screen.result(made, _customer_lines(made))


@command(customers, "list")
async def list_customers(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List customers."""
    await show_listing(operator, _CUSTOMERS, "customers", CUSTOMER_COLUMNS, None if everything else limit)


@command(customers, "show")
async def show_customer(operator: Operator, customer: CustomerId) -> None:
    """Show a customer."""
    found = await operator.lane.call("GET", f"{_CUSTOMERS}/{segment(customer)}")
    operator.screen.result(found, _customer_lines(found))


def _customer_lines(item: dict[str, Any]) -> list[tuple[str, object]]:
    return [("Customer", item["title"]), ("Id", item["id"]), ("Tenant", item["tenantId"])]


@command(customers, "delete")
def delete_customer(operator: Operator, customer: CustomerId, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """Delete a customer that has neither users nor devices."""
    confirm(f"Delete customer {customer}?", yes=yes)

    async def delete() -> None:
        await operator.lane.call("DELETE", f"{_CUSTOMERS}/{segment(customer)}")
        operator.screen.done({"deleted": customer}, f"Deleted customer {customer}.")

    return delete()


@command(users, "add")
def add_user(  # noqa: PLR0913 - its options
    operator: Operator,
    username: Username,
    *,
    customer: OfCustomer = None,
    role: Roles = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="No role, not even `customer`.")] = False,
    of_group: Groups = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Create the user in this tenant; for admins of `management`.")
    ] = None,
    ask_password: AskPassword = False,
) -> Coroutine[Any, Any, None]:
    """Create a user. The login is shown once.

    With --customer the user gets the role `customer`, unless you pass --role, --group or --no-roles.
    """
    if role and no_roles:
        raise UnusableError("--role cannot be combined with --no-roles")
    body: dict[str, Any] = {"username": username}
    body |= {"roles": role or []} if role or no_roles else {}
    body |= {"groups": of_group} if of_group else {}
    body |= {"customerId": customer} if customer else {}
    body |= {"tenantId": tenant} if tenant else {}
    body |= _password(username) if ask_password else {}

    async def add() -> None:
        made = await operator.lane.call("POST", _USERS, body)
        given = {member: value for member, value in made.items() if not (ask_password and member == "password")}
        lines = [*_user_lines(made), *login_lines({"username": made["principal"], **_login_of(given)})]
        operator.screen.result(given, lines)

    return add()


def _login_of(made: dict[str, Any]) -> dict[str, Any]:
    return {member: made[member] for member in ("password", "login") if member in made}


def _password(username: str) -> dict[str, str]:
    password = ask_secret(f"New password for {username}", "--ask-password needs a terminal")
    if password != ask_secret("Repeat the password", ""):
        raise UnusableError("the two passwords differ")
    return {"password": password}


def _user_lines(item: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("User", item["username"]),
        ("Tenant", item["tenantId"]),
        ("Customer", item["customerId"]),
        ("Roles", item["roles"]),
        ("Groups", item["groups"]),
    ]


@command(users, "list")
async def list_users(operator: Operator, *, limit: Limit = 100, everything: All = False) -> None:
    """List users."""
    await show_listing(operator, _USERS, "users", USER_COLUMNS, None if everything else limit)


@command(users, "show")
async def show_user(operator: Operator, username: Username) -> None:
    """Show a user."""
    found = await operator.lane.call("GET", f"{_USERS}/{segment(username)}")
    operator.screen.result(found, [*_user_lines(found), ("Login", found["principal"])])


@command(users, "change")
def change_user(  # noqa: PLR0913 - its options
    operator: Operator,
    username: Username,
    *,
    customer: OfCustomer = None,
    no_customer: Annotated[bool, typer.Option("--no-customer", help="Remove the user from its customer.")] = False,
    role: Roles = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Remove all roles.")] = False,
    of_group: Groups = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="Remove the user from all groups.")] = False,
    ask_password: AskPassword = False,
) -> Coroutine[Any, Any, None]:
    """Change a user. Options you do not pass change nothing; --role and --group replace the whole list."""
    body: dict[str, Any] = {}
    if customer or no_customer:
        body["customerId"] = customer
    if role or no_roles:
        body["roles"] = role or []
    if of_group or no_groups:
        body["groups"] = of_group or []
    if ask_password:
        body |= _password(username)
    if not body:
        raise UnusableError("nothing to change: pass --customer, --role, --group or --ask-password")

    async def change() -> None:
        changed = await operator.lane.call("PUT", f"{_USERS}/{segment(username)}", body)
        changed.pop("password", None)  # the operator has just typed it
        operator.screen.result(changed, _user_lines(changed))

    return change()


@command(users, "delete")
def delete_user(operator: Operator, username: Username, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """Delete a user. Its login stops working."""
    confirm(f"Delete user {username}? The login stops working.", yes=yes)

    async def delete() -> None:
        await operator.lane.call("DELETE", f"{_USERS}/{segment(username)}")
        operator.screen.done({"deleted": username}, f"Deleted user {username}.")

    return delete()
