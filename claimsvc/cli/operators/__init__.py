"""The operators' commands: over MQTT like any other client, a file for each group of them."""

from claimsvc.cli.console import app
from claimsvc.cli.operators import (
    accounts,
    claiming,
    credentials,
    devices,
    events,
    importing,
    labels,
    requests,
    structure,
    watching,
    why,
)
from claimsvc.cli.operators.connecting import OVER_MQTT

__all__ = ["claiming", "events", "importing", "labels", "watching", "why"]

for name, group in {
    "device": devices.group,
    "request": requests.group,
    "credentials": credentials.group,
    "customer": accounts.customers,
    "user": accounts.users,
    "group": structure.groups,
    "role": structure.roles,
    "gateway": structure.gateways,
    "tenant": structure.tenants,
}.items():
    app.add_typer(group, name=name, rich_help_panel=OVER_MQTT)
