"""`claimsvc import` and `claimsvc device secrets`: process the devices of a CSV file; report the rows that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from claimsvc.cli.console import app
from claimsvc.cli.operators import device_commands
from claimsvc.cli.operators.connecting import Operator, command
from claimsvc.cli.operators.failing import FailedError
from claimsvc.cli.operators.options import read_bytes
from claimsvc.cli.operators.screen import Column, Screen
from claimsvc.cli.operators.tables import cells_of, failed_records, new_file, new_file_beside, write, write_bytes

_IMPORT = "/devicecontrol/bulkNewDeviceRequests"
_CLAIM_KEYS = "/claimsvc/claimKeys"
_MOST_SHOWN = 50
"""Failed rows shown on the screen. The file of failed rows has all of them."""

Answer = dict[str, Any]
File = Annotated[Path, typer.Argument(metavar="FILE.csv")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check the file; change nothing.")]

FAILED_COLUMNS = (
    Column("Line", lambda item: item.get("lineNumber"), whole=True),
    Column("Device", lambda item: item.get("deviceId") or item.get("name"), whole=True),
    Column("Column", lambda item: item.get("column")),
    Column("Why", lambda item: item.get("failureReason"), whole=True),
    Column("Code", lambda item: item.get("code"), wide=True),
)


@command(app, "import")
async def import_devices(operator: Operator, file: File, *, dry_run: DryRun = False) -> None:
    """Register the devices of a CSV file, as Cumulocity's bulk registration does.

    Rows that failed are written to a second file beside it. Fix them there and import that file.
    """
    content = read_bytes(file, "FILE")
    answer = await send(operator, _IMPORT, content, dry_run=dry_run, what=f"Importing {file.name}")
    report(operator.screen, answer, "failedCreationList", file, content, dry_run=dry_run)


@command(device_commands.group, "secrets")
async def make_secrets(
    operator: Operator,
    file: File,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write the keys to. Default: beside FILE.csv.")
    ] = None,
    replace: device_commands.Replace = False,
    dry_run: DryRun = False,
) -> None:
    """Create a secret key for each device of a CSV file, and write the keys to a file that only you can read.

    The header is `name`, and optionally `secretKey`, `expirationTime`, `type`, `label`. The row of a device that has
    a valid key fails, unless you pass --replace.
    """
    content = read_bytes(file, "FILE")
    what = f"Creating keys for {file.name}"
    if dry_run:
        answer = await send(operator, _CLAIM_KEYS, content, dry_run=True, replace=replace, what=what)
    else:
        # The service shows the keys once, so create the file first.
        path, descriptor = (out, new_file(out)) if out else new_file_beside(file, "keys")
        try:
            answer = await send(operator, _CLAIM_KEYS, content, dry_run=False, replace=replace, what=what)
        except BaseException:
            path.unlink()
            raise
        try:
            write(descriptor, answer.pop("csv"))
        except OSError as error:
            text = f"{path}: {error.strerror}: the keys are lost; create new ones with --replace"
            raise FailedError(text) from None
        answer["file"] = str(path)
        operator.screen.note(f"Keys written to {path}. They cannot be shown again.")
    report(operator.screen, answer, "failedList", file, content, dry_run=dry_run)


async def send(
    operator: Operator, path: str, content: bytes, *, dry_run: bool, replace: bool = False, what: str
) -> Answer:
    """Send a file, show the service's progress, and return the answer. Raises as `Lane.call`."""
    err = operator.screen.err
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def progress(state: dict[str, Any]) -> None:
            bar.update(task, total=state.get("numberOfAll"), completed=state.get("numberOfProcessed", 0))

        flags = [name for name, is_on in (("dryRun=true", dry_run), ("replace=true", replace)) if is_on]
        query = f"?{'&'.join(flags)}" if flags else ""
        answer: Answer = await operator.lane.call("POST", f"{path}{query}", content, progress=progress)
        return answer


def report(screen: Screen, answer: Answer, member: str, file: Path, content: bytes, *, dry_run: bool) -> None:
    """Show the result. Raises FailedError if rows failed."""
    names = cells_of(content, "name")
    failed = sorted(answer[member], key=lambda item: item.get("lineNumber") or 0)
    failed = [{"name": names.get(item.get("lineNumber", 0)), **item} for item in failed]
    failed_file = _failed_file(file, content, failed) if failed and not dry_run else None
    if screen.as_json:
        screen.json(
            {**answer, member: failed, "dryRun": dry_run, **({"failedFile": str(failed_file)} if failed_file else {})}
        )
    else:
        screen.say(summary(answer, dry_run=dry_run), "bold")
        if failed:
            screen.items(FAILED_COLUMNS, failed[:_MOST_SHOWN])
        if len(failed) > _MOST_SHOWN:
            screen.note(f"... and {len(failed) - _MOST_SHOWN} more.")
    if failed_file:
        screen.note(f"Failed rows written to {failed_file}. Fix them there and send that file.")
    if keys := sum(item.get("code") == "key_exists" for item in failed):
        devices_have = "1 device has" if keys == 1 else f"{keys} devices have"
        screen.note(
            f"{devices_have} a valid claim key, which may be printed on a label. Pass --replace to replace it."
        )
    unnamed = answer["numberOfFailed"] - len(failed)
    if unnamed > 0:
        screen.note(
            f"The service did not name {unnamed} more failed rows. Fix these, then send the whole file again."
        )
    if failed:
        would = "would fail" if dry_run else "failed"
        raise FailedError(f"{answer['numberOfFailed']} of {answer['numberOfAll']} rows {would}")


def summary(answer: Answer, *, dry_run: bool) -> str:
    """Return the counts as a sentence."""
    done, made = answer["numberOfSuccessful"], answer["numberOfCreated"]
    rows = "1 row" if answer["numberOfAll"] == 1 else f"{answer['numberOfAll']} rows"
    replaced = answer.get("numberOfReplaced", 0)
    keys = "1 key" if replaced == 1 else f"{replaced} keys"
    if dry_run:
        would = f" {keys} would be replaced." if replaced else ""
        return f"{rows}: {done} would succeed, {answer['numberOfFailed']} would fail.{would} Nothing was changed."
    return f"{rows}: {done} done ({made} new), {answer['numberOfFailed']} failed." + (
        f" {keys} replaced." if replaced else ""
    )


def _failed_file(file: Path, content: bytes, failed: list[dict[str, Any]]) -> Path:
    path, descriptor = new_file_beside(file, "failed")
    write_bytes(
        descriptor, failed_records(content, (item["lineNumber"] for item in failed if item.get("lineNumber")))
    )
    return path
