"""Lists of claim keys on the wire: a CSV in, a CSV with every key out."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.accounts import ListItems
from claimsvc.core.bulk import (
    ImportClaimKeys,
    ImportCounts,
    ImportFinished,
    KeyedDevice,
    RowDone,
    RowField,
    RowRefused,
    RowsDone,
    RowStatus,
    SetClaimKeys,
)
from claimsvc.core.decision import Refused
from claimsvc.core.model import DeviceGroup
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import SecretKind
from claimsvc.dialects.message import Request, Slice
from claimsvc.sealing import Sealing
from claimsvc.settings import Settings
from tests.support.factories import NOW, inbound

DIALECTS = lanes_of(Settings())
SEALING = Sealing(bytes(32), 1)
UNTIL = NOW + 1


def request_of(text: str, query: str = "") -> Request:
    """Return the request that a list makes."""
    request = DIALECTS.read(inbound(f"request/1/POST/claimsvc/claimKeys{query}", text))
    assert request is not None
    return request


def slice_of(text: str) -> Slice:
    """Return the only slice of a list, its keys hashed."""
    open_sheet = request_of(text).open_sheet
    assert open_sheet is not None
    (part,) = open_sheet().slices(0)
    for secret in part.command.secrets:
        SEALING.harden(secret)
    return part


def rows_of(text: str) -> tuple[KeyedDevice | RowRefused, ...]:
    """Return what each row says."""
    command = slice_of(text).command
    assert isinstance(command, SetClaimKeys)
    return command.rows


def answer(text: str, results: list[RowDone | RowRefused], *, is_rehearsal: bool = False) -> Any:
    """Return the answer to a list whose rows had these results."""
    kept = json.loads(json.dumps(slice_of(text).note(RowsDone(tuple(results)))))
    counts = ImportCounts(len(results), len(results), 0, 0)
    (out,) = request_of(text).answer(ImportFinished(counts, (kept,), is_rehearsal=is_rehearsal), NOW)
    return json.loads(out.payload)


BAD_HEADERS = {
    "nothing": ("", "name: the column is missing"),
    "no names": ("secretKey;type", "name: the column is missing"),
    "a column that is none": (
        "name;key",
        "key: unknown column; the columns are name, secretKey, expirationTime, type, label",
    ),
    "a column twice, in two cases": ("name;NAME", "column 2 has the same name as an earlier column"),
}


@pytest.mark.parametrize(("header", "why"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_headers_that_make_no_list(header: str, why: str) -> None:
    """Are refused before anything is done."""
    command = request_of(f"{header}\nx;y\n").asked
    assert isinstance(command, Refused)
    assert (command.reason, command.detail) == (Reason.MALFORMED, why)


def test_a_row_says_name_key_end_type_and_label() -> None:
    """Columns in whatever order and case; empty cells say nothing."""
    text = "LABEL,Type,SecretKey,EXPIRATIONTIME,Name\nA box,box,value,1700000000001,Box 1\n,,,,Box 2\n"
    assert request_of(text).command == ImportClaimKeys("alice")
    first, second = rows_of(text)
    assert isinstance(first, KeyedDevice)
    assert (first.name, first.type, first.label, first.expires_at_ms) == ("Box 1", "box", "A box", UNTIL)
    assert (first.key.kind, first.key.text) == (SecretKind.ISSUED_CLAIM_KEY, "value")
    assert isinstance(second, KeyedDevice)
    assert (second.name, second.type, second.label, second.expires_at_ms) == ("Box 2", None, None, None)


def test_keys_that_are_made_up_are_128_bits_each() -> None:
    """Letters and digits, all different, hashed as a claim hashes the key it shows."""
    rows = rows_of("name\n" + "".join(f"Box {number}\n" for number in range(200)))
    texts = [row.key.text or "" for row in rows if isinstance(row, KeyedDevice)]
    assert len(set(texts)) == 200
    assert {text.isalnum() and text.isascii() and len(text) >= 22 for text in texts} == {True}  # 62**22 > 2**130
    hashes = [row.key.hardened for row in rows if isinstance(row, KeyedDevice)]
    assert hashes == [SEALING.claim_key_hash(text) for text in texts]


TIMES = {
    "a date": "2030-01-01",
    "a negative": "-1",
    "a fraction": "1.5",
    "other digits": "\u0661",
    "an infinity of digits": "9" * 5_000,
    "more than a number holds": str(2**53 + 1),
    "zeros that hide a large number": "0" * 20 + "9" * 20,
}


@pytest.mark.parametrize("text", TIMES.values(), ids=TIMES.keys())
def test_what_is_no_time_is_refused(text: str) -> None:
    """With its column; the cell is not quoted."""
    (row,) = rows_of(f"name;expirationTime\nBox;{text}\n")
    expected = Refused(Reason.INVALID_VALUE, "a time in milliseconds since 1970 is expected")
    assert row == RowRefused(expected, "expirationTime")


def test_the_longest_key_and_the_latest_time() -> None:
    """255 characters are taken, one more is not, nor what no label can show."""
    text = f'name;secretKey;expirationTime\na;{"k" * 255};{2**53}\nb;{"k" * 256};1\nc;"k\rk";\n'
    fine, *bad = rows_of(text)
    assert isinstance(fine, KeyedDevice)
    assert fine.expires_at_ms == 2**53
    why = "at most 255 printable characters are expected"
    assert bad == [RowRefused(Refused(Reason.INVALID_VALUE, why), "secretKey")] * 2


def test_the_answer_is_a_csv_of_the_keys() -> None:
    """It can be read back whatever is in a name; a failed row has no key and shows none."""
    text = 'name;secretKey\n"a;""b""\nc";value\nBox 2;\nOwned;PLANTED\n'
    owned = RowRefused(Refused(Reason.ALREADY_CLAIMED), RowField.DEVICE_ID)
    done = [RowDone(RowStatus.CREATED, UNTIL), RowDone(RowStatus.UPDATED, UNTIL + 1)]
    given = answer(text, [*done, owned])
    assert given["status"] == 201
    header, first, second = csv.reader(io.StringIO(given["body"]["csv"]), delimiter=";")
    assert header == ["name", "secretKey", "expirationTime"]
    assert first == ['a;"b"\nc', "value", str(UNTIL)]
    assert (second[0], len(second[1]), second[2]) == ("Box 2", 22, str(UNTIL + 1))
    (failed,) = given["body"]["failedList"]
    assert (failed["lineNumber"], failed["column"], failed["code"]) == (5, "name", "already_claimed")
    assert "PLANTED" not in json.dumps(given)


def test_a_rehearsal_gives_no_keys() -> None:
    """They were never set."""
    given = answer("name\nBox\n", [RowDone(RowStatus.CREATED, UNTIL)], is_rehearsal=True)
    assert given["status"] == 200
    assert "csv" not in given["body"]


def test_groups_of_devices_are_listed() -> None:
    """With their path, page by page."""
    request = DIALECTS.read(inbound("request/1/GET/claimsvc/deviceGroups?limit=1"))
    assert request is not None
    assert isinstance(request.command, ListItems)
    assert request.command.kind is DeviceGroup
