"""Cumulocity's bulk registration by CSV. Facts: docs/original-systems.md#bulk-columns.

A simple file has the columns ID and PATH and announces devices. A full file has the login of each device, which then
needs no acceptance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from pydantic_core import to_json

from claimsvc.core.bulk import (
    Entry,
    ImportDevices,
    ImportFinished,
    NewDevice,
    RegisterDevices,
    RowField,
    RowRefused,
    RowsDone,
    RowStatus,
)
from claimsvc.core.command import Command
from claimsvc.core.decision import Outcome
from claimsvc.core.model import CLAIMING_ALLOWED, CLAIMING_DATA, PROVISION_STATE
from claimsvc.core.names import name_error
from claimsvc.core.registration import RequestRefused
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects import sheets
from claimsvc.dialects.cumulocity.error_words import error_of, refuse
from claimsvc.dialects.message import Sheet, Slice, malformed
from claimsvc.dialects.rest import Answer, Call, Route, Section, flag
from claimsvc.dialects.sheets import BadCellError, Line, Row, cell

ID, CREDENTIALS, AUTH_TYPE, ONE_TIME_PASSWORD = "ID", "CREDENTIALS", "AUTH_TYPE", "ENROLLMENT_OTP"
TENANT, TYPE, NAME, ICCID, ID_TYPE, PATH, SHELL = "TENANT", "TYPE", "NAME", "ICCID", "IDTYPE", "PATH", "SHELL"
BUILT_IN = (ID, CREDENTIALS, AUTH_TYPE, ONE_TIME_PASSWORD, TENANT, TYPE, NAME, ICCID, ID_TYPE, PATH, SHELL)
"""Upper and lower case do not matter here, but do in all other columns."""
SIMPLE = frozenset({ID, PATH, TENANT})
DESCRIBED = (PATH, ICCID, ID_TYPE, SHELL)
"""Columns of a full file that also need TYPE and NAME."""
SECRETS = frozenset({CREDENTIALS, ONE_TIME_PASSWORD})
EXTERNAL = "external-"
EXTERNAL_IDS = "externalIds"
OURS = frozenset({CLAIMING_ALLOWED, CLAIMING_DATA, PROVISION_STATE, EXTERNAL_IDS, "c8y_SupportedOperations"})
"""Attributes that have a meaning for claimsvc, or come from other columns."""
DEFAULT_ID_TYPE = "c8y_Serial"
ICCID_PROPERTY = "c8y_Mobile.iccid"
BASIC, CERTIFICATES = "BASIC", "CERTIFICATES"
MASK = "****"
SHORTEST, LONGEST = 8, 32
_LAST_LATIN1 = 0xFF
LONGEST_ONE_TIME_PASSWORD = 32
DEEPEST_PATH = 20

_BAD_PASSWORD = (
    f"Error during password validation. : Password must have at least {SHORTEST} characters and no more than "
    f"{LONGEST} and must contain only Latin1 characters."
)
_FIELDS: dict[RowField | str | None, str] = {
    RowField.DEVICE_ID: ID,
    RowField.TENANT: TENANT,
    RowField.SECRET: CREDENTIALS,
}

Columns = dict[str, int]


# --- decoding


def _begin(call: Call) -> Command:
    """Read only the header. The rest of the file is read after the permission check."""
    header = sheets.header_of(call.body)
    return ImportDevices(call.caller, names_tenants=TENANT in columns_of(header))


def open_sheet(call: Call, most_rows: int) -> Sheet:
    """Read a file of devices. Raises Rejected."""
    table = sheets.open_table(call.body, most_rows)
    columns = columns_of(table.header)
    read = partial(_read, columns)

    def slices(skip: int) -> Iterator[Slice]:
        for rows in sheets.slices(table, skip, columns[ID], read):
            command = RegisterDevices(call.caller, tuple(row.meaning for row in rows))
            yield Slice(command, partial(_note, rows, columns))

    return Sheet(table.rows, slices, sheets.encode_progress, is_rehearsal=flag(call.query, "dryRun"))


def columns_of(header: tuple[str, ...]) -> Columns:
    """Return the position of each column. Raises Rejected for an invalid header."""
    columns = sheets.columns(tuple(name.upper() if name.upper() in BUILT_IN else name for name in header))
    if ID not in columns:
        raise malformed("ID: the column is missing")
    if _is_simple(columns):
        return columns
    if CREDENTIALS not in columns and AUTH_TYPE not in columns:
        raise malformed("CREDENTIALS: the column is missing")
    for name in DESCRIBED:
        if name in columns and not {TYPE, NAME} <= columns.keys():
            raise malformed(f"{name}: this column also needs TYPE and NAME")
    _check_properties([name for name in columns if name not in BUILT_IN], with_iccid=ICCID in columns)
    return columns


def _check_properties(names: list[str], *, with_iccid: bool) -> None:
    """Raise Rejected if the columns of custom properties do not form an object."""
    for name in names:
        levels = [name.removeprefix(EXTERNAL)] if name.startswith(EXTERNAL) else name.split(".")
        if levels[0] in OURS:
            raise malformed(f"{name}: a file cannot set this")
        if error := next(filter(None, map(name_error, levels)), None):
            raise malformed(f"{name}: {error}")
    own = [name for name in names if not name.startswith(EXTERNAL)]
    if with_iccid and ICCID_PROPERTY in own:
        raise malformed(f"{ICCID_PROPERTY}: the column {ICCID} already sets it")
    properties = [*own, *([ICCID_PROPERTY] if with_iccid else [])]
    outer = {name[:position] for name in properties for position, each in enumerate(name) if each == "."}
    if name := next((name for name in properties if name in outer), ""):
        raise malformed(f"{name}: another column is a part of it")


def _is_simple(columns: Columns) -> bool:
    return columns.keys() <= SIMPLE


def _read(columns: Columns, cells: list[str]) -> NewDevice:
    """Return the device of a row. Raises BadCellError."""

    def at(name: str) -> str | None:
        return cell(cells, columns.get(name))

    device_id, path = cells[columns[ID]], _path(at(PATH))
    if _is_simple(columns):
        return NewDevice(device_id, Entry.REQUEST, None, at(TENANT), None, None, path, ())
    entry, secret = _entry(at)
    fragments = _fragments(columns, cells, at)
    attributes = tuple((name, to_json(value).decode()) for name, value in fragments.items())
    return NewDevice(device_id, entry, secret, at(TENANT), at(TYPE), at(NAME), path, attributes)


def _entry(at: Callable[[str], str | None]) -> tuple[Entry, Secret | None]:
    """Return the way in which the device gets its login, and its secret."""
    kind, password, one_time = at(AUTH_TYPE) or BASIC, at(CREDENTIALS), at(ONE_TIME_PASSWORD)
    if kind not in {BASIC, CERTIFICATES}:
        raise BadCellError(AUTH_TYPE, f"{BASIC} or {CERTIFICATES} is expected")
    if kind == BASIC:
        if one_time is not None:
            raise BadCellError(ONE_TIME_PASSWORD, f"a one-time password needs {AUTH_TYPE} {CERTIFICATES}")
        if password is None or not _is_password(password):
            raise BadCellError(CREDENTIALS, _BAD_PASSWORD)
        return Entry.PASSWORD, Secret(SecretKind.PASSWORD, password)
    if password is not None:
        raise BadCellError(CREDENTIALS, f"a device with {AUTH_TYPE} {CERTIFICATES} must not have a password")
    if one_time is None:
        return Entry.ELSEWHERE, None
    if len(one_time) > LONGEST_ONE_TIME_PASSWORD:
        raise BadCellError(ONE_TIME_PASSWORD, f"at most {LONGEST_ONE_TIME_PASSWORD} characters are expected")
    return Entry.ONE_TIME_PASSWORD, Secret(SecretKind.SECURITY_TOKEN, one_time)


def _is_password(text: str) -> bool:
    return SHORTEST <= len(text) <= LONGEST and all(ord(character) <= _LAST_LATIN1 for character in text)


def _path(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(text.split("/"))
    if len(names) > DEEPEST_PATH:
        raise BadCellError(PATH, f"at most {DEEPEST_PATH} nested groups are expected")
    if error := next(filter(None, map(name_error, names)), None):
        raise BadCellError(PATH, f"a group: {error}")
    return names


def _fragments(columns: Columns, cells: list[str], at: Callable[[str], str | None]) -> dict[str, Any]:
    """Return the custom properties of a row, in the shape of Cumulocity's device."""
    fragments: dict[str, Any] = {}
    external = [{"type": at(ID_TYPE) or DEFAULT_ID_TYPE, "externalId": cells[columns[ID]]}]
    for name, position in columns.items():
        text = cell(cells, position)
        if name in BUILT_IN or text is None:
            continue
        if name.startswith(EXTERNAL):
            external.append({"type": name.removeprefix(EXTERNAL), "externalId": text})
            continue
        *above, last = name.split(".")
        inner = fragments
        for level in above:
            inner = inner.setdefault(level, {})
        inner[last] = text
    if (iccid := at(ICCID)) is not None:
        fragments.setdefault("c8y_Mobile", {})["iccid"] = iccid
    if at(SHELL) == "1":
        fragments["c8y_SupportedOperations"] = ["c8y_Command"]
    return {EXTERNAL_IDS: external, **fragments}


# --- encoding


def _note(rows: list[Row[NewDevice]], columns: Columns, outcome: RowsDone) -> dict[str, list[Any]]:
    """Return the updated and the failed rows of a slice. Created devices are only counted."""
    updated: list[str] = []
    failed: list[dict[str, Any]] = []
    for row, result in zip(rows, outcome.results, strict=True):
        if isinstance(result, RowRefused):
            failed.append(_failed(row.line, columns, result))
        elif result.status is RowStatus.UPDATED:
            updated.append(row.line.cells[columns[ID]])
    return {"updated": updated, "failed": failed}


def _failed(line: Line, columns: Columns, result: RowRefused) -> dict[str, Any]:
    """Return a failed row in Cumulocity's shape, plus its line and the cause."""
    entry = {"bulkNewDeviceStatus": "FAILED", **sheets.failure(line, result, _FIELDS)}
    if isinstance(result.refused, RequestRefused):
        entry["failureReason"] = error_of(result.refused)[2]
    if len(line.cells) != len(columns):
        return entry | {"line": "DeviceInfo{}"}  # it is unknown which cell is secret
    return entry | {"deviceId": line.cells[columns[ID]], "line": _shown(line, columns)}


def _shown(line: Line, columns: Columns) -> str:
    """Return the row as Cumulocity prints it, with masked secrets and without custom columns, which may be secret."""
    cells = ((name, line.cells[columns[name]]) for name in BUILT_IN if name in columns)
    shown = (f"{name.lower()}='{MASK if name in SECRETS and text else text}'" for name, text in cells)
    return f"DeviceInfo{{{', '.join(shown)}}}"


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the result of a file. Facts: docs/original-systems.md#bulk-results."""
    if not isinstance(outcome, ImportFinished):
        return refuse(outcome, now_ms)
    updated = chain.from_iterable(part["updated"] for part in outcome.parts)
    failed = chain.from_iterable(part["failed"] for part in outcome.parts)
    body: dict[str, object] = {
        **sheets.counters(outcome.counts),
        "credentialUpdatedList": [
            {"bulkNewDeviceStatus": "CREDENTIAL_UPDATED", "deviceId": device_id} for device_id in updated
        ],
        "failedCreationList": list(islice(failed, sheets.MOST_FAILED)),
    }
    return Answer(200 if outcome.is_rehearsal else 201, body)


SECTION = Section(
    "/devicecontrol/",
    refuse,
    (
        Route(
            "POST",
            "/devicecontrol/bulkNewDeviceRequests",
            _begin,
            encode,
            "ImportDevices",
            open_sheet=open_sheet,
        ),
    ),
    "cumulocity",
)
