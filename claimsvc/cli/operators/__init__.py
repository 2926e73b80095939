"""The operators' commands, which work over MQTT like any other client: one file for each group."""

from claimsvc.cli.console import app
from claimsvc.cli.operators import (
    account_commands,
    claim_commands,
    credential_commands,
    device_commands,
    events,
    importing,
    labels,
    request_commands,
    structure,
    watching,
    why,
)
from claimsvc.cli.operators.connecting import OVER_MQTT

__all__ = ["claim_commands", "events", "importing", "labels", "watching", "why"]

for name, group in {
    "device": device_commands.group,
    "request": request_commands.group,
    "credentials": credential_commands.group,
    "customer": account_commands.customers,
    "user": account_commands.users,
    "group": structure.groups,
    "role": structure.roles,
    "gateway": structure.gateways,
    "tenant": structure.tenants,
}.items():
    app.add_typer(group, name=name, rich_help_panel=OVER_MQTT)
