"""`claimsvc credentials ...`: give a device another login, or end the one it has."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from claimsvc.cli.operators.asking import confirm
from claimsvc.cli.operators.connecting import Operator, Yes, command
from claimsvc.cli.operators.device_commands import login_lines
from claimsvc.cli.operators.options import Name, duration_ms
from claimsvc.cli.operators.screen import when

group = typer.Typer(help="What devices log in with: rotate, revoke.", no_args_is_help=True)


@command(group, "rotate")
async def rotate_credentials(
    operator: Operator,
    name: Name,
    *,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", help="How long the old one stays good: 15min, 12h, 30d. Else as it is set."),
    ] = None,
    access_token: Annotated[
        bool, typer.Option("--access-token", help="An access token, where the device has no login any more.")
    ] = False,
) -> None:
    """Make a new login for a device, of the kind it has, and show it once."""
    body: dict[str, object] = {} if overlap is None else {"overlapMs": duration_ms(overlap, "--overlap")}
    if access_token:
        body["credentialsType"] = "ACCESS_TOKEN"
    made = await operator.lane.call("POST", await _path(operator, name), body)
    operator.screen.result(made, rotated_lines(made))


def rotated_lines(made: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what is shown of a rotation."""
    times = [("Good from", when(made.get("validFrom"))), ("Old one until", when(made.get("oldValidUntil")))]
    return [*login_lines({**made, "principal": None}), *times]


@command(group, "revoke")
def revoke_credentials(operator: Operator, name: Name, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """End every login of a device at once."""
    confirm(f"End every login of {name} now?", yes=yes)

    async def revoke() -> None:
        await operator.lane.call("DELETE", await _path(operator, name))
        operator.screen.done({"revoked": name}, f"{name} can no longer log in.")

    return revoke()


async def _path(operator: Operator, name: str) -> str:
    return f"/claimsvc/devices/{await operator.lane.device_id(name)}/credentials"
