"""`claimsvc claim` and `claimsvc release`: claim a device as a customer's user, and give it back."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from claimsvc.cli.console import app
from claimsvc.cli.operators.asking import confirm
from claimsvc.cli.operators.connecting import Operator, Yes, command
from claimsvc.cli.operators.failing import FailedError
from claimsvc.cli.operators.lane import CallRefusedError, segment
from claimsvc.cli.operators.options import KeyFile, Name, secret_of

_WORDS = {
    # ThingsBoard's answer to a refused claim is one word, the same for several causes.
    "FAILURE": "no claim window is open, or the key is wrong; as an admin, run `claimsvc why`",
    "CLAIMED": "a customer owns the device already",
}


@command(app, "claim")
def claim_device(
    operator: Operator,
    name: Name,
    *,
    key_file: KeyFile = None,
    no_key: Annotated[
        bool, typer.Option("--no-key", help="The device opened its claim window without a key.")
    ] = False,
) -> Coroutine[Any, Any, None]:
    """Claim a device with its secret key, as a user of a customer."""
    key = "" if no_key else secret_of(key_file, f"Secret key of {name}", "--key-file or --no-key")

    async def claim() -> None:
        path = f"/api/customer/device/{segment(name)}/claim"
        try:
            answer = await operator.lane.call("POST", path, {"secretKey": key})
        except CallRefusedError as refused:
            if isinstance(refused.body, str) and refused.body in _WORDS:
                raise FailedError(f"cannot claim {name}: {_WORDS[refused.body]} ({refused.body})") from None
            raise
        operator.screen.done(answer, f"Claimed {name}.")

    return claim()


@command(app, "release")
def release_device(operator: Operator, name: Name, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """Release a device, as a user of the customer that owns it or as an admin."""
    confirm(f"Release {name} from its owner?", yes=yes)

    async def release() -> None:
        answer = await operator.lane.call("DELETE", f"/api/customer/device/{segment(name)}/claim")
        operator.screen.done(answer, f"Released {name}.")

    return release()
