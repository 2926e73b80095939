"""`claimsvc label` and `claimsvc labels`: QR codes to stick on devices, so that their buyers can claim them."""

from __future__ import annotations

import html
import io
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import segno
import typer
from pydantic_core import to_json
from rich.text import Text

from claimsvc.cli.console import app
from claimsvc.cli.operators.connecting import OVER_MQTT, Operator, command
from claimsvc.cli.operators.device_commands import Expires, Replace, open_server_window
from claimsvc.cli.operators.failing import UnusableError, ending
from claimsvc.cli.operators.options import KeyFile, Name, read_text, secret_of
from claimsvc.cli.operators.screen import Screen
from claimsvc.cli.operators.tables import new_file, rows_of, write, write_bytes
from claimsvc.environment import OPERATOR_CLAIM_URL

NAME_FIELD, KEY_FIELD = "{deviceName}", "{secretKey}"
_QUIET_MODULES = 4
_SCALE = 8

ClaimUrl = Annotated[
    str | None,
    typer.Option(
        "--claim-url",
        envvar=OPERATOR_CLAIM_URL,
        metavar="TEMPLATE",
        help="Encode a URL instead of JSON: https://example.com/claim?d={deviceName}&k={secretKey}",
    ),
]


def content_of(name: str, key: str | None, template: str | None) -> str:
    """Return the content of a device's QR code: JSON, or the template filled in. Raises UnusableError.

    `key` is None for a label without a key: the device opens its own window.
    """
    if template is None:
        members = {"deviceName": name} if key is None else {"deviceName": name, "secretKey": key}
        return to_json(members).decode()
    if NAME_FIELD not in template:
        raise UnusableError(f"--claim-url: {NAME_FIELD} is missing")
    if KEY_FIELD not in template and key is not None:
        raise UnusableError(f"--claim-url: {KEY_FIELD} is missing")
    return template.replace(NAME_FIELD, quote(name, safe="")).replace(KEY_FIELD, quote(key or "", safe=""))


def code_of(content: str) -> segno.QRCode:
    """Return the QR code, with error correction for scratches. Raises UnusableError."""
    try:
        return segno.make_qr(content, error="m", encoding="utf-8")
    except segno.DataOverflowError:
        raise UnusableError("the name and key are too long for a QR code") from None


@command(app, "label")
def make_label(  # noqa: PLR0913 - its options
    operator: Operator,
    name: Name,
    *,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Create a secret key for it, as `device secret`.")
    ] = False,
    replace: Replace = False,
    expires: Expires = "30d",
    with_key: Annotated[bool, typer.Option("--with-key", help="Prompt for the key to put on the label.")] = False,
    key_file: KeyFile = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write an SVG picture.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write a PNG picture.")] = None,
    claim_url: ClaimUrl = None,
) -> Coroutine[Any, Any, None]:
    """Show a device's label as a QR code with its name, and optionally the secret key to claim it.

    --new-key fails if the device has a valid key already, because a label may show it, unless you pass --replace.
    """
    if new_key and (with_key or key_file):
        raise UnusableError("--new-key cannot be combined with --with-key or --key-file")
    if replace and not new_key:
        raise UnusableError("--replace needs --new-key")
    given = secret_of(key_file, f"Secret key of {name}", "--key-file") if with_key or key_file else None
    content_of(name, given or ("" if new_key else None), claim_url)  # reject a bad template before creating a key
    pictures = tuple((path, kind, new_file(path)) for path, kind in ((svg, "svg"), (png, "png")) if path)

    async def label() -> None:
        try:
            key = given
            if new_key:
                key = str((await open_server_window(operator, name, expires, replace=replace))["secretKey"])
            else:
                await operator.lane.device(name)
        except BaseException:
            for path, _, _ in pictures:
                path.unlink()
            raise
        content = content_of(name, key, claim_url)
        code = code_of(content)
        for path, kind, descriptor in pictures:
            write_bytes(descriptor, picture(code, kind, name))
            operator.screen.note(f"Label written to {path}.")
        if operator.screen.as_json:
            operator.screen.json(
                {"deviceName": name, "content": content, "files": [str(path) for path, *_ in pictures]}
            )
        elif not pictures:
            operator.screen.out.print(on_screen(code))
            operator.screen.line(name)

    return label()


def picture(code: segno.QRCode, kind: str, title: str) -> bytes:
    """Return the code as the bytes of an SVG or PNG file."""
    out = io.BytesIO()
    more = {"title": title} if kind == "svg" else {}
    code.save(out, kind=kind, scale=_SCALE, border=_QUIET_MODULES, **more)
    return out.getvalue()


def on_screen(code: segno.QRCode) -> Text:
    """Return the code for a terminal, always black on white. A character shows two modules."""
    rows = [list(row) for row in code.matrix_iter(border=_QUIET_MODULES)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ("".join(_HALVES[bool(above), bool(below)] for above, below in zip(*pair, strict=True)) for pair in pairs)
    return Text("\n".join(lines), "black on white", no_wrap=True)


_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


# --- sheets


@app.command("labels", rich_help_panel=OVER_MQTT)
def make_labels(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="With `name` and `secretKey`, as `device secrets` writes it.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.html")],
    *,
    claim_url: ClaimUrl = None,
    columns: Annotated[int, typer.Option("--columns", min=1, max=20, help="Labels side by side.")] = 3,
    size_mm: Annotated[int, typer.Option("--size", min=10, max=200, help="Edge of a code in millimetres.")] = 40,
) -> None:
    """Write a sheet of labels to print, from a CSV file of names and keys. Needs no broker.

    The sheet contains the keys, so only you can read it.
    """
    screen = Screen(as_json=False)
    with ending(screen):
        rows = rows_of(read_text(file, "FILE"), "name")
        if not rows:
            raise UnusableError(f"{file}: no device in this file")
        text = sheet(rows, claim_url, columns, size_mm)
        write(new_file(out), text)
        screen.say(f"{len(rows)} labels written to {out}. Open it in a browser and print it.", "green")


def sheet(rows: list[dict[str, str]], template: str | None, columns: int, size_mm: int) -> str:
    """Return an HTML page with a label for each row. Raises UnusableError."""
    labels = "".join(_label(row, template) for row in rows)
    return _SHEET.replace("COLUMNS", str(columns)).replace("SIZE", str(size_mm)).replace("LABELS", labels)


def _label(row: dict[str, str], template: str | None) -> str:
    name = row.get("name", "")
    if not name:
        raise UnusableError("a row has an empty `name`")
    code = code_of(content_of(name, row.get("secretkey") or None, template))
    return (
        f"<figure>{code.svg_inline(border=_QUIET_MODULES, omitsize=True)}"
        f"<figcaption>{html.escape(name)}</figcaption></figure>\n"
    )


_SHEET = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Labels</title>
<style>
@page { margin: 10mm }
body { margin: 0; display: grid; grid-template-columns: repeat(COLUMNS, 1fr); font: 10pt sans-serif }
figure { margin: 0; padding: 3mm; text-align: center; border: 0.2mm dashed #999; break-inside: avoid }
svg { width: SIZEmm; height: SIZEmm }
figcaption { overflow-wrap: anywhere }
</style>
LABELS</html>
"""
