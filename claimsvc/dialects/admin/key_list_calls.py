"""Lists of claim keys, for labels and letters: the request is a CSV of devices, the answer a CSV with all keys, once.

The columns are `name;secretKey;expirationTime;type;label`. Only `name` is required. Missing keys are generated.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from claimsvc.core.bulk import (
    ImportClaimKeys,
    ImportFinished,
    KeyedDevice,
    RowField,
    RowRefused,
    RowsDone,
    SetClaimKeys,
)
from claimsvc.core.command import Command
from claimsvc.core.decision import Outcome
from claimsvc.core.model import DeviceGroup
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects import sheets
from claimsvc.dialects.admin.item_shapes import listing, refuse
from claimsvc.dialects.message import Sheet, Slice, malformed
from claimsvc.dialects.rest import Answer, Call, Route, Section, flag
from claimsvc.dialects.sheets import BadCellError, Row, cell

NAME, KEY, EXPIRES_AT, TYPE, LABEL = "name", "secretKey", "expirationTime", "type", "label"
COLUMNS = {name.lower(): name for name in (NAME, KEY, EXPIRES_AT, TYPE, LABEL)}
LONGEST_KEY = 255
LATEST_MS = 2**53
_DIGITS = len(str(LATEST_MS))
_BESIDE_NAME = len(r";0123456789012345678901;1700000000000\n")

_FIELDS: dict[RowField | str | None, str] = {RowField.DEVICE_ID: NAME, RowField.EXPIRES_AT: EXPIRES_AT}


def _begin(call: Call) -> Command:
    """Read only the header. The rest of the file is read after the permission check."""
    _columns(sheets.header_of(call.body))
    return ImportClaimKeys(call.caller)


def open_sheet(call: Call, most_rows: int) -> Sheet:
    """Read a list. Raises Rejected."""
    table = sheets.open_table(call.body, most_rows)
    columns = _columns(table.header)
    read = partial(_read, columns)
    may_replace = flag(call.query, "replace")

    def slices(skip: int) -> Iterator[Slice]:
        for rows in sheets.slices(table, skip, columns[NAME], read):
            command = SetClaimKeys(call.caller, tuple(row.meaning for row in rows), may_replace)
            yield Slice(command, partial(_note, rows))

    is_rehearsal = flag(call.query, "dryRun")
    answer_bytes = 0 if is_rehearsal else sum(_bytes_of(line.cells, columns[NAME]) for line in table.lines())
    return Sheet(table.rows, slices, sheets.encode_progress, is_rehearsal=is_rehearsal, answer_bytes=answer_bytes)


def _bytes_of(cells: list[str], position: int) -> int:
    """Return the approximate size of a row in the answer, with a generated key."""
    return _BESIDE_NAME + (len(cells[position].encode()) if position < len(cells) else 0)


def _columns(header: tuple[str, ...]) -> dict[str, int]:
    columns = sheets.columns(tuple(COLUMNS.get(name.lower(), name) for name in header))
    if NAME not in columns:
        raise malformed(f"{NAME}: the column is missing")
    if unknown := next((name for name in columns if name not in COLUMNS.values()), None):
        raise malformed(f"{unknown}: unknown column; the columns are {', '.join(COLUMNS.values())}")
    return columns


def _read(columns: dict[str, int], cells: list[str]) -> KeyedDevice:
    """Return the meaning of a row. Raises BadCellError."""

    def at(name: str) -> str | None:
        return cell(cells, columns.get(name))

    key, until = at(KEY), at(EXPIRES_AT)
    if key is not None and (len(key) > LONGEST_KEY or not key.isprintable()):
        raise BadCellError(KEY, f"at most {LONGEST_KEY} printable characters are expected")
    if until is not None and not _is_time(until):
        raise BadCellError(EXPIRES_AT, "a time in milliseconds since 1970 is expected")
    secret = Secret(SecretKind.ISSUED_CLAIM_KEY, key)
    return KeyedDevice(cells[columns[NAME]], secret, int(until) if until else None, at(TYPE), at(LABEL))


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= LATEST_MS


def _note(rows: list[Row[KeyedDevice]], outcome: RowsDone) -> dict[str, Any]:
    """Return the keys of a slice as CSV, the number of keys that replaced others, and the failed rows."""
    keys: list[list[Any]] = []
    failed: list[dict[str, Any]] = []
    replaced = 0
    for row, result in zip(rows, outcome.results, strict=True):
        if isinstance(result, RowRefused):
            failed.append(sheets.failure(row.line, result, _FIELDS))
        elif isinstance(row.meaning, KeyedDevice):
            keys.append([row.meaning.name, row.meaning.key.text, result.until_ms])
            replaced += result.is_replaced
    return {"csv": _csv(keys), "failed": failed, "replaced": replaced}


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the keys as CSV, and the rows that failed."""
    if not isinstance(outcome, ImportFinished):
        return refuse(outcome, now_ms)
    failed = chain.from_iterable(part["failed"] for part in outcome.parts)
    body = sheets.counters(outcome.counts)
    # An import that an earlier release began has parts without this number.
    body["numberOfReplaced"] = sum(part.get("replaced", 0) for part in outcome.parts)
    if not outcome.is_rehearsal:
        body["csv"] = "".join([_csv([[NAME, KEY, EXPIRES_AT]]), *(part["csv"] for part in outcome.parts)])
    return Answer(
        200 if outcome.is_rehearsal else 201, body | {"failedList": list(islice(failed, sheets.MOST_FAILED))}
    )


def _csv(lines: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\n").writerows(lines)
    return text.getvalue()


SECTION = Section(
    "/claimsvc/",
    refuse,
    (
        Route("POST", "/claimsvc/claimKeys", _begin, encode, "ImportClaimKeys", open_sheet=open_sheet),
        listing("/claimsvc/deviceGroups", "deviceGroups", DeviceGroup),
    ),
    "claimsvc",
)
