"""`claimsvc credentials ...`: rotate or revoke the credentials of a device."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from claimsvc.cli.operators.asking import confirm
from claimsvc.cli.operators.connecting import Operator, Yes, command
from claimsvc.cli.operators.device_commands import login_lines
from claimsvc.cli.operators.options import Name, duration_ms
from claimsvc.cli.operators.screen import when

group = typer.Typer(help="Credentials of devices: rotate, revoke.", no_args_is_help=True)


@command(group, "rotate")
async def rotate_credentials(
    operator: Operator,
    name: Name,
    *,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap",
            help="How long the old credentials stay valid: 15min, 12h, 30d. Default: credentials.overlap_ms.",
        ),
    ] = None,
    access_token: Annotated[
        bool, typer.Option("--access-token", help="Create an access token, for a device without any login.")
    ] = False,
) -> None:
    """Create new credentials for a device, of the kind it has. They are shown once."""
    body: dict[str, object] = {} if overlap is None else {"overlapMs": duration_ms(overlap, "--overlap")}
    if access_token:
        body["credentialsType"] = "ACCESS_TOKEN"
    made = await operator.lane.call("POST", await _path(operator, name), body)
    operator.screen.result(made, rotated_lines(made))


def rotated_lines(made: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the lines that show a rotation."""
    times = [("Valid from", when(made.get("validFrom"))), ("Old valid until", when(made.get("oldValidUntil")))]
    return [*login_lines({**made, "principal": None}), *times]


@command(group, "revoke")
def revoke_credentials(operator: Operator, name: Name, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """Revoke all credentials of a device at once."""
    confirm(f"Revoke all credentials of {name} now?", yes=yes)

    async def revoke() -> None:
        await operator.lane.call("DELETE", await _path(operator, name))
        operator.screen.done({"revoked": name}, f"Revoked the credentials of {name}. It can no longer log in.")

    return revoke()


async def _path(operator: Operator, name: str) -> str:
    return f"/claimsvc/devices/{await operator.lane.device_id(name)}/credentials"
