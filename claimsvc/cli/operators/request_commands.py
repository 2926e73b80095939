"""`claimsvc request ...`: announce new devices, and accept or reject their requests."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from claimsvc.cli.operators.asking import confirm
from claimsvc.cli.operators.connecting import Operator, Yes, command
from claimsvc.cli.operators.device_commands import ONCE
from claimsvc.cli.operators.failing import FailedError, UnusableError
from claimsvc.cli.operators.lane import Lane, segment
from claimsvc.cli.operators.listing import All, Limit, collect, page_size, show_items
from claimsvc.cli.operators.options import secret_of
from claimsvc.cli.operators.screen import Column, table, when

group = typer.Typer(help="New devices: announce, accept, reject, watch.", no_args_is_help=True)

REQUESTS = "/devicecontrol/newDeviceRequests"
STYLES = {
    "WAITING_FOR_CONNECTION": "dim",
    "PENDING_ACCEPTANCE": "bold yellow",
    "ACCEPTED": "green",
    "BLOCKED": "red",
}
_ENROLLMENT_BYTES = 16
_FULL = 1_000
"""acceptAll accepts this many requests per call."""

Request = dict[str, Any]


def _status(item: Request) -> Text:
    return Text(item["status"], STYLES.get(item["status"], ""))


def _standing(item: Request) -> Text:
    """Return the status, marked if two clients compete for the request."""
    return _status(item).append(" contested", "bold red") if item.get("contested") else _status(item)


def created_ms(item: Request) -> int:
    """Return the time of a request's creation, epoch milliseconds."""
    return int(datetime.fromisoformat(item["creationTime"]).timestamp() * 1000)


COLUMNS = (
    Column("Id", lambda item: item["id"], whole=True),
    Column("Status", _standing, firm=True),
    Column("Type", lambda item: item.get("type")),
    Column("Group", lambda item: item.get("groupId"), wide=True),
    Column("Created", lambda item: when(created_ms(item)), firm=True),
    Column("By", lambda item: item["owner"], wide=True),
    Column("Tenant", lambda item: item["tenantId"], wide=True),
)

RequestId = Annotated[str, typer.Argument(metavar="ID", help="The device's own id.")]
Status = Annotated[str | None, typer.Option("--status", help=f"Only requests of this status: {', '.join(STYLES)}.")]


def path_of(device_id: str) -> str:
    """Return the path of one request."""
    return f"{REQUESTS}/{segment(device_id)}"


async def requests_of(lane: Lane, status: str | None, limit: int | None) -> tuple[list[Request], bool]:
    """Return requests, oldest first, and whether there are more. Raises as `Lane.call`."""
    path = f"{REQUESTS}?pageSize={page_size(limit)}" + (f"&status={status}" if status else "")
    return await collect(lane, path, "newDeviceRequests", limit)


@command(group, "list")
async def list_requests(
    operator: Operator, *, status: Status = None, limit: Limit = 100, everything: All = False
) -> None:
    """List requests, oldest first."""
    wanted = status.upper() if status else None
    if wanted and wanted not in STYLES:
        raise UnusableError(f'--status: "{status}" is not one of {", ".join(STYLES)}')
    items, more = await requests_of(operator.lane, wanted, None if everything else limit)
    show_items(operator.screen, "newDeviceRequests", COLUMNS, items, more=more)


@command(group, "add")
async def add_request(
    operator: Operator,
    device_id: RequestId,
    *,
    type_: Annotated[str | None, typer.Option("--type", help="The device's type.")] = None,
    of_group: Annotated[str | None, typer.Option("--group", help="The device's group.")] = None,
    one_time_password: Annotated[
        bool,
        typer.Option(
            "--one-time-password",
            help="Create a one-time password, shown once. A device that sends it needs no acceptance.",
        ),
    ] = False,
) -> None:
    """Announce a device. It can then request its credentials."""
    token = secrets.token_urlsafe(_ENROLLMENT_BYTES) if one_time_password else None
    wanted = {"id": device_id, "type": type_, "groupId": of_group, "enrollmentToken": token}
    body = {member: value for member, value in wanted.items() if value is not None}
    made = await operator.lane.call("POST", REQUESTS, body)
    lines = [*request_lines(made), ("One-time password", f"{token}{ONCE}")] if token else request_lines(made)
    operator.screen.result({**made, "enrollmentToken": token} if token else made, lines)


def request_lines(item: Request) -> list[tuple[str, object]]:
    """Return the lines that show one request."""
    shown = [
        ("Device", item["id"]),
        ("Status", _status(item)),
        ("Contested", "yes: another client requested it too" if item.get("contested") else None),
        ("Type", item.get("type")),
        ("Group", item.get("groupId")),
        ("Created", when(created_ms(item))),
        ("By", item["owner"]),
        ("Tenant", item["tenantId"]),
        ("Properties", item.get("customProperties")),
    ]
    return [(title, value) for title, value in shown if value is not None]


@command(group, "show")
async def show_request(operator: Operator, device_id: RequestId) -> None:
    """Show a request."""
    found = await operator.lane.call("GET", path_of(device_id))
    operator.screen.result(found, request_lines(found))


@command(group, "accept")
def accept_requests(
    operator: Operator,
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device's own id.")] = "",
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Accept all devices that wait for acceptance and need no token.")
    ] = False,
    token: Annotated[
        bool, typer.Option("--token", help="Prompt for the security token that the device shows.")
    ] = False,
    yes: Yes = False,
) -> Coroutine[Any, Any, None]:
    """Accept a device, or all that wait for acceptance. Each gets a login."""
    if bool(device_id) == everything:
        raise UnusableError("pass either a device id or --all")
    if everything:
        confirm("Accept all devices that wait for acceptance?", yes=yes)
        return _accept_all(operator)
    shown = secret_of(None, f"Security token that {device_id} shows", "no --token") if token else None
    return _accept(operator, device_id, shown)


async def _accept(operator: Operator, device_id: str, token: str | None) -> None:
    body = {"status": "ACCEPTED", **({"securityToken": token} if token else {})}
    accepted = await operator.lane.call("PUT", path_of(device_id), body)
    operator.screen.done(accepted, f"Accepted {device_id}. The device gets its login the next time it asks.")


async def _accept_all(operator: Operator) -> None:
    results: dict[str, dict[str, Any]] = {}
    while True:
        answer = await operator.lane.call("POST", f"{REQUESTS}/acceptAll")
        results |= {each["id"]: each for each in answer}
        if len(answer) < _FULL or not any(each["successful"] for each in answer):
            break
    show_accepted(operator, list(results.values()))


FAILED_COLUMNS = (
    Column("Id", lambda item: item["id"], whole=True),
    Column("Why", lambda item: item.get("error"), whole=True),
)


def show_accepted(operator: Operator, results: list[dict[str, Any]]) -> None:
    """Print the results. Raises FailedError if the service refused to accept some requests."""
    refused = [each for each in results if not each["successful"]]
    operator.screen.done(results, f"{len(results) - len(refused)} accepted, {len(refused)} refused.")
    if refused and not operator.screen.as_json:
        operator.screen.out.print(table(FAILED_COLUMNS, refused, wide=True))
    if refused:
        raise FailedError(f"{len(refused)} of {len(results)} requests were not accepted")


@command(group, "reject")
def reject_request(operator: Operator, device_id: RequestId, *, yes: Yes = False) -> Coroutine[Any, Any, None]:
    """Delete a request in any state. The login of an accepted device stays."""
    confirm(f"Delete the request of {device_id}?", yes=yes)

    async def reject() -> None:
        await operator.lane.call("DELETE", path_of(device_id))
        operator.screen.done({"deleted": device_id}, f"Deleted the request of {device_id}.")

    return reject()


@command(group, "limit")
async def show_limit(operator: Operator) -> None:
    """Show the tenant's number of devices and its limit."""
    found = await operator.lane.call("GET", f"{REQUESTS}/limit")
    limit = found.get("limit", "none")
    lines = [("Devices", found["deviceCount"]), ("Limit", limit), ("Reached", found["isReached"])]
    operator.screen.result(found, lines)
