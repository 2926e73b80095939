"""Cumulocity's bulk registration on the wire: its columns, its rows, its answer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as some

from claimsvc.app import lanes_of
from claimsvc.core.bulk import (
    Entry,
    ImportCounts,
    ImportDevices,
    ImportFinished,
    NewDevice,
    RegisterDevices,
    RowDone,
    RowField,
    RowRefused,
    RowsDone,
    RowStatus,
)
from claimsvc.core.decision import Refused
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import RequestRefused
from claimsvc.core.secrets import SecretKind
from claimsvc.dialects.message import Rejected, Request, Sheet
from claimsvc.settings import Settings
from tests.support.factories import NOW, inbound

DIALECTS = lanes_of(Settings())
PATH = "request/1/POST/devicecontrol/bulkNewDeviceRequests"
EXAMPLE = """ID;CREDENTIALS;TYPE;NAME;ICCID;IDTYPE;PATH;SHELL
id_101;abcd1234;type_of_device;Device 101;111111111;;csv device/subgroup0;1
id_102;abcd1234;type_of_device;Device 102;222222222;;csv device/subgroup0;0
id_111;abcd1234;type_of_device;Device 111;333333333;c8y_Imei;csv device1/subgroup1;0
id_112;abcd1234;type_of_device;Device 112;444444444;;csv device1/subgroup1;1
id_121;abcd1234;type_of_device;Device 121;555555555;;csv device1/subgroup2;1
id_122;abcd1234;type_of_device;Device 122;;;csv device1/subgroup2;
id_131;abcd1234;type_of_device;Device 131;;;csv device1/subgroup3;
"""
CREATED, UPDATED = RowDone(RowStatus.CREATED), RowDone(RowStatus.UPDATED)


def request_of(text: str | bytes, query: str = "") -> Request:
    """Return the request that a file makes."""
    request = DIALECTS.read(inbound(PATH + query, text))
    assert request is not None
    return request


def sheet_of(text: str | bytes, query: str = "") -> Sheet:
    """Return a file as it is worked through."""
    open_sheet = request_of(text, query).open_sheet
    assert open_sheet is not None
    return open_sheet()


def meanings(text: str | bytes) -> list[NewDevice | RowRefused]:
    """Return what each row says."""
    commands = [part.command for part in sheet_of(text).slices(0)]
    return [row for command in commands if isinstance(command, RegisterDevices) for row in command.rows]


def device_of(header: str, row: str) -> NewDevice:
    """Return what the only row says, which must be understood."""
    (meaning,) = meanings(f"{header}\n{row}\n")
    assert isinstance(meaning, NewDevice), meaning
    return meaning


def refused_row(header: str, row: str) -> RowRefused:
    """Return why the only row is not understood."""
    (meaning,) = meanings(f"{header}\n{row}\n")
    assert isinstance(meaning, RowRefused), meaning
    return meaning


def attributes(device: NewDevice) -> dict[str, Any]:
    """Return a row's fragments."""
    return {name: json.loads(value) for name, value in device.attributes}


# --- the header


def refusal(header: str) -> str:
    """Return why a header is refused; both the look at it alone and the whole file's reading must say so."""
    request = request_of(f"{header}\n")
    assert isinstance(request.asked, Refused)
    assert request.asked.reason is Reason.MALFORMED
    return request.asked.detail


BAD_HEADERS = {
    "no id": ("CREDENTIALS;TYPE", "ID: the column is missing"),
    "nothing": ("", "ID: the column is missing"),
    "a full file without a way to log in": ("ID;TYPE;NAME", "CREDENTIALS: the column is missing"),
    "a path without a type": ("ID;CREDENTIALS;NAME;PATH", "PATH: this column also needs TYPE and NAME"),
    "a path without a name": ("ID;CREDENTIALS;TYPE;PATH", "PATH: this column also needs TYPE and NAME"),
    "an ICCID without both": ("ID;CREDENTIALS;ICCID", "ICCID: this column also needs TYPE and NAME"),
    "a type of id without both": ("ID;CREDENTIALS;IDTYPE", "IDTYPE: this column also needs TYPE and NAME"),
    "a shell without both": ("ID;CREDENTIALS;SHELL", "SHELL: this column also needs TYPE and NAME"),
    "a column twice, in two cases": ("ID;CREDENTIALS;id", "column 3 has the same name as an earlier column"),
    "what claiming sets": ("ID;CREDENTIALS;claimingAllowed", "claimingAllowed: a file cannot set this"),
    "inside of what claiming sets": ("ID;CREDENTIALS;claimingData.x", "claimingData.x: a file cannot set this"),
    "what external columns set": ("ID;CREDENTIALS;externalIds.x", "externalIds.x: a file cannot set this"),
    "a value and an object": ("ID;CREDENTIALS;a;a.b", "a: another column is a part of it"),
    "an object and a value": ("ID;CREDENTIALS;a.b.c;a.b", "a.b: another column is a part of it"),
    "a dot at the end": ("ID;CREDENTIALS;a.", "a.: the name is empty"),
    "a dot at the beginning": ("ID;CREDENTIALS;.a", ".a: the name is empty"),
    "two dots": ("ID;CREDENTIALS;a..b", "a..b: the name is empty"),
    "no type of external id": ("ID;CREDENTIALS;external-", "external-: the name is empty"),
    "two words for the ICCID": (
        "ID;CREDENTIALS;TYPE;NAME;ICCID;c8y_Mobile.iccid",
        "c8y_Mobile.iccid: the column ICCID already sets it",
    ),
    "a value where the ICCID goes": (
        "ID;CREDENTIALS;TYPE;NAME;ICCID;c8y_Mobile",
        "c8y_Mobile: another column is a part of it",
    ),
}


@pytest.mark.parametrize(("header", "why"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_headers_that_make_no_file_of_devices(header: str, why: str) -> None:
    """Are refused before anything is done, naming the column."""
    assert refusal(header) == why


GOOD_HEADERS = {
    "simple": ("ID;PATH", False),
    "an id alone": ("id", False),
    "simple, for tenants": ("TENANT;ID;PATH", True),
    "full": ("ID;CREDENTIALS", False),
    "in whatever order and case": ("Name;type;path;Credentials;Tenant;Id", True),
    "certificates alone": ("ID;AUTH_TYPE;ENROLLMENT_OTP", False),
    "properties that share an object": ("ID;CREDENTIALS;a.b;a.c;ab", False),
    "names that differ in case": ("ID;CREDENTIALS;a;A", False),
    "a quoted separator": ('"ID";"CREDENTIALS";"a,b,c"', False),
}


@pytest.mark.parametrize(("header", "names_tenants"), GOOD_HEADERS.values(), ids=GOOD_HEADERS.keys())
def test_headers_that_do(header: str, names_tenants: bool) -> None:  # noqa: FBT001 - a case's column
    """The first look tells whether they say whose each device is; nothing behind the header is looked at."""
    assert request_of(f"{header}\n\0").command == ImportDevices("alice", names_tenants=names_tenants)


# --- the rows


def test_the_documented_rows() -> None:
    """Each with its password, type, name and groups, and with the rest as fragments."""
    devices = meanings(EXAMPLE)
    assert [device.device_id for device in devices if isinstance(device, NewDevice)] == [
        f"id_{number}" for number in (101, 102, 111, 112, 121, 122, 131)
    ]
    first, _, imei, _, _, bare, _ = devices
    assert isinstance(first, NewDevice)
    assert (first.entry, first.type, first.label) == (Entry.PASSWORD, "type_of_device", "Device 101")
    assert first.secret is not None
    assert (first.secret.kind, first.secret.text) == (SecretKind.PASSWORD, "abcd1234")
    assert list(first.paths) == ["csv device", "csv device/subgroup0"]
    assert attributes(first) == {
        "externalIds": [{"type": "c8y_Serial", "externalId": "id_101"}],
        "c8y_Mobile": {"iccid": "111111111"},
        "c8y_SupportedOperations": ["c8y_Command"],
    }
    assert isinstance(imei, NewDevice)
    assert attributes(imei) == {
        "externalIds": [{"type": "c8y_Imei", "externalId": "id_111"}],
        "c8y_Mobile": {"iccid": "333333333"},
    }
    assert isinstance(bare, NewDevice)
    assert attributes(bare) == {"externalIds": [{"type": "c8y_Serial", "externalId": "id_122"}]}


@pytest.mark.parametrize("separator", ["\t", ","])
def test_separators_make_no_difference(separator: str) -> None:
    """The documented file has semicolons."""
    assert repr(meanings(EXAMPLE.replace(";", separator))) == repr(meanings(EXAMPLE))


def test_a_simple_row() -> None:
    """Announces its device, and says into which group."""
    device = device_of("ID;PATH", "Device2;Group A/Group B")
    assert device == NewDevice("Device2", Entry.REQUEST, None, None, None, None, ("Group A", "Group B"), ())


CERTIFICATES = "ID;AUTH_TYPE;CREDENTIALS;ENROLLMENT_OTP"
ENTRIES = {
    "a password": ("d;BASIC;pass12345;", Entry.PASSWORD, SecretKind.PASSWORD),
    "a password, as nothing is said": ("d;;pass12345;", Entry.PASSWORD, SecretKind.PASSWORD),
    "the shortest password": ("d;;12345678;", Entry.PASSWORD, SecretKind.PASSWORD),
    "the longest password": ("d;;" + 32 * "ÿ" + ";", Entry.PASSWORD, SecretKind.PASSWORD),
    "a one-time password": ("d;CERTIFICATES;;somePassword@123", Entry.ONE_TIME_PASSWORD, SecretKind.SECURITY_TOKEN),
    "the longest of them": ("d;CERTIFICATES;;" + 32 * "o", Entry.ONE_TIME_PASSWORD, SecretKind.SECURITY_TOKEN),
    "a certificate": ("d;CERTIFICATES;;", Entry.ELSEWHERE, None),
    "a certificate, and blanks": ("d;CERTIFICATES; ; ", Entry.ELSEWHERE, None),
}


@pytest.mark.parametrize(("row", "entry", "kind"), ENTRIES.values(), ids=ENTRIES.keys())
def test_how_a_device_gets_in(row: str, entry: Entry, kind: SecretKind | None) -> None:
    """AUTH_TYPE and the secret beside it decide."""
    device = device_of(CERTIFICATES, row)
    assert (device.entry, device.secret and device.secret.kind) == (entry, kind)


_PASSWORD = (
    "Error during password validation. : Password must have at least 8 characters and no more than 32 and must "
    "contain only Latin1 characters."
)
BAD_ROWS = {
    "a short password": ("d;;1234567;", "CREDENTIALS", _PASSWORD),
    "a long password": ("d;;" + 33 * "x" + ";", "CREDENTIALS", _PASSWORD),
    "no password": ("d;;;", "CREDENTIALS", _PASSWORD),
    "a password beyond Latin1": ("d;;pass€12345;", "CREDENTIALS", _PASSWORD),
    "a certificate and a password": (
        "d;CERTIFICATES;pass12345;",
        "CREDENTIALS",
        "a device with AUTH_TYPE CERTIFICATES must not have a password",
    ),
    "a one-time password of 33": (
        "d;CERTIFICATES;;" + 33 * "o",
        "ENROLLMENT_OTP",
        "at most 32 characters are expected",
    ),
    "a one-time password for a password": (
        "d;BASIC;pass12345;otp",
        "ENROLLMENT_OTP",
        "a one-time password needs AUTH_TYPE CERTIFICATES",
    ),
    "another way": ("d;TOKEN;pass12345;", "AUTH_TYPE", "BASIC or CERTIFICATES is expected"),
}


@pytest.mark.parametrize(("row", "column", "why"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_rows_that_say_no_sensible_way(row: str, column: str, why: str) -> None:
    """Are refused with their column; nothing of the cell is quoted."""
    assert refused_row(CERTIFICATES, row) == RowRefused(Refused(Reason.INVALID_VALUE, why), column)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a//b", "a group: the name is empty"),
        ("/a", "a group: the name is empty"),
        ("a/", "a group: the name is empty"),
        ("a/b\x07", "a group: the name contains U+0007, which is not allowed in a topic"),
        ("/".join("a" * 21), "at most 20 nested groups are expected"),
        ("x" * 256, "a group: the name is longer than 255 characters"),
    ],
    ids=["two slashes", "a slash first", "a slash last", "a bell", "too deep", "too long"],
)
def test_paths_that_name_no_groups(path: str, why: str) -> None:
    """In either mode."""
    expected = RowRefused(Refused(Reason.INVALID_VALUE, why), "PATH")
    assert refused_row("ID;PATH", f"d;{path}") == expected
    assert refused_row("ID;CREDENTIALS;TYPE;NAME;PATH", f"d;pass12345;;;{path}") == expected


def test_rows_of_other_lengths_are_refused() -> None:
    """Whichever column was left out."""
    reasons = [
        meaning.refused.detail if isinstance(meaning, RowRefused) else meaning.device_id
        for meaning in meanings("ID;CREDENTIALS\na\nb;pass12345;x\nc;pass12345\n")
    ]
    assert reasons == ["the row has 1 cells, the header has 2", "the row has 3 cells, the header has 2", "c"]


def test_properties_and_external_ids() -> None:
    """Dots nest, values are texts, and empty cells say nothing. Case counts; braces mean nothing."""
    header = "ID;CREDENTIALS;com_cumulocity_model_Agent.active;a;a2.b.c;A;d;external-c8y_Imei;external-x.y"
    device = device_of(header, "id;pass12345;true;1;{x};;  ;123;7")
    assert attributes(device) == {
        "externalIds": [
            {"type": "c8y_Serial", "externalId": "id"},
            {"type": "c8y_Imei", "externalId": "123"},
            {"type": "x.y", "externalId": "7"},
        ],
        "com_cumulocity_model_Agent": {"active": "true"},
        "a": "1",
        "a2": {"b": {"c": "{x}"}},
    }


def test_a_property_beside_the_iccid() -> None:
    """Both end in the same object."""
    device = device_of("ID;CREDENTIALS;TYPE;NAME;ICCID;c8y_Mobile.imsi", "id;pass12345;;;49;123")
    assert attributes(device)["c8y_Mobile"] == {"iccid": "49", "imsi": "123"}


def test_the_deepest_property_can_be_kept() -> None:
    """A name of 255 characters has 128 levels."""
    device = device_of("ID;CREDENTIALS;" + ".".join("a" * 128), "id;pass12345;x")
    assert attributes(device)["a"]["a"]["a"]


_FULL = ["CREDENTIALS", "AUTH_TYPE", "TYPE", "NAME"]
_MORE = ["ENROLLMENT_OTP", "TENANT", "ICCID", "IDTYPE", "PATH", "SHELL"]
_OWN = ["a", "b.c", "b.d", "c8y_Mobile", "c8y_Mobile.imsi", "external-x"]
_CELLS = some.one_of(
    some.sampled_from(["", " ", "1", "BASIC", "CERTIFICATES", "abcd1234", "a/b", "//"]),
    some.text(some.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
)


@examples(
    base=some.sampled_from([["PATH"], _FULL, _FULL, _FULL]),
    more=some.lists(some.sampled_from(_MORE + _OWN), unique=True, min_size=2, max_size=6),
    rows=some.lists(some.lists(_CELLS, max_size=4), min_size=1, max_size=5),
    evenly=some.sampled_from([True, True, True, False]),
)
@settings(deadline=None, max_examples=500)
def test_no_file_breaks_us(base: list[str], more: list[str], rows: list[list[str]], evenly: bool) -> None:  # noqa: FBT001
    """Whatever its columns and cells are, it is refused, or each row is, or it can be kept and told of."""
    header = ["ID", *base, *(name for name in more if name not in base)]
    if evenly:
        rows = [[*row, *["x", "abcd1234", "BASIC", *("x" * 10)][len(row) :]][: len(header)] for row in rows]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows([header, *rows])
    open_sheet = request_of(text.getvalue()).open_sheet
    if open_sheet is None:
        return
    try:
        parts = list(open_sheet().slices(0))
    except Rejected:
        return
    for part in parts:
        assert isinstance(part.command, RegisterDevices)
        understood = [row for row in part.command.rows if isinstance(row, NewDevice)]
        assert all(attributes(row) for row in understood if row.entry is not Entry.REQUEST)
        refused = RowRefused(RequestRefused(Reason.INVALID_DEVICE_ID, "", device_id="x"), RowField.DEVICE_ID)
        results = [row if isinstance(row, RowRefused) else refused for row in part.command.rows]
        assert json.dumps(part.note(RowsDone(tuple(results))))


# --- the answer


def finished(text: str, results: Sequence[RowDone | RowRefused], **counts: int) -> Any:
    """Return the answer to a file whose rows had these results."""
    request = request_of(text)
    (part,) = sheet_of(text).slices(0)
    kept = json.loads(json.dumps(part.note(RowsDone(tuple(results)))))  # it lies in the store meanwhile
    numbers = ImportCounts(**({"rows": 0, "created": 0, "updated": 0, "failed": 0} | counts))
    (out,) = request.answer(ImportFinished(numbers, (kept,), is_rehearsal=False), NOW)
    return json.loads(out.payload)


def test_the_answer_has_the_documented_shape() -> None:
    """Counters and two lists; created devices are only counted."""
    rows = [f"id{number};abcd1234;t" for number in range(1, 5)]
    text = "\n".join(["ID;CREDENTIALS;TENANT", *rows, "id5;credentials3;tenant3", ""])
    bad = RowRefused(Refused(Reason.NOT_FOUND, "tenant tenant3"), RowField.TENANT)
    answer = finished(text, [CREATED, CREATED, CREATED, UPDATED, bad], rows=5, created=3, updated=1, failed=1)
    assert answer == {
        "status": 201,
        "body": {
            "numberOfAll": 5,
            "numberOfCreated": 3,
            "numberOfFailed": 1,
            "numberOfSuccessful": 4,
            "credentialUpdatedList": [{"bulkNewDeviceStatus": "CREDENTIAL_UPDATED", "deviceId": "id4"}],
            "failedCreationList": [
                {
                    "bulkNewDeviceStatus": "FAILED",
                    "deviceId": "id5",
                    "failureReason": "tenant tenant3",
                    "line": "DeviceInfo{id='id5', credentials='****', tenant='tenant3'}",
                    "lineNumber": 6,
                    "column": "TENANT",
                    "code": "not_found",
                }
            ],
        },
    }


def test_a_failed_line_masks_its_secrets() -> None:
    """The password and the one-time password; a column of somebody's own is not shown at all."""
    header = "ID;Credentials;AUTH_TYPE;ENROLLMENT_OTP;TYPE;secretProperty"
    text = f"{header}\nid;PLANTED-1;TOKEN;PLANTED-2;type;PLANTED-3\n"
    (meaning,) = meanings(text)
    assert isinstance(meaning, RowRefused)
    (failed,) = finished(text, [meaning], rows=1, failed=1)["body"]["failedCreationList"]
    line = "DeviceInfo{id='id', credentials='****', auth_type='TOKEN', enrollment_otp='****', type='type'}"
    assert (failed["line"], failed["column"]) == (line, "AUTH_TYPE")
    assert "PLANTED" not in json.dumps(failed)


@pytest.mark.parametrize("row", ["PLANTED-1", "id;PLANTED-1;x;PLANTED-2"], ids=["too few cells", "too many"])
def test_a_line_of_another_length_shows_no_cell(row: str) -> None:
    """What stands where cannot be told, nor what is secret."""
    text = f"ID;CREDENTIALS\n{row}\n"
    (meaning,) = meanings(text)
    assert isinstance(meaning, RowRefused)
    (failed,) = finished(text, [meaning], rows=1, failed=1)["body"]["failedCreationList"]
    assert failed["line"] == "DeviceInfo{}"
    assert "deviceId" not in failed
    assert "PLANTED" not in json.dumps(failed)


CORES = {
    "a bad id": (
        RequestRefused(Reason.INVALID_DEVICE_ID, "/", device_id="a/b"),
        "Device id 'a/b' contains '/' character which is not permitted.",
    ),
    "an announced id": (
        RequestRefused(Reason.ALREADY_REQUESTED, device_id="a/b"),
        "NewDeviceRequest for id = a/b already exists.",
    ),
    "a full tenant": (
        RequestRefused(Reason.DEVICE_LIMIT, device_id="a/b"),
        "You have reached devices limit. No more devices can be registered.",
    ),
    "a taken name": (
        RequestRefused(Reason.NAME_TAKEN, device_id="a/b"),
        "The name of device a/b belongs to another login or device.",
    ),
    "something else": (Refused(Reason.INVALID_VALUE, "this service keeps no logins"), "this service keeps no logins"),
}


@pytest.mark.parametrize(("refused", "why"), CORES.values(), ids=CORES.keys())
def test_what_the_rules_refuse_is_said_in_cumulocitys_words(refused: Refused, why: str) -> None:
    """The texts are those of the single registration."""
    answer = finished("ID;CREDENTIALS\na/b;pass12345\n", [RowRefused(refused, RowField.DEVICE_ID)], rows=1, failed=1)
    (failed,) = answer["body"]["failedCreationList"]
    assert (failed["failureReason"], failed["code"], failed["column"]) == (why, refused.reason.value, "ID")


def test_so_many_failed_rows_are_listed() -> None:
    """The counters count all; the broker must take the answer."""
    part = {"updated": [], "failed": [{"deviceId": "x"}] * 6_000}
    outcome = ImportFinished(ImportCounts(12_000, 0, 0, 12_000), (part, part), is_rehearsal=False)
    (out,) = request_of(EXAMPLE).answer(outcome, NOW)
    body = json.loads(out.payload)["body"]
    assert (body["numberOfFailed"], len(body["failedCreationList"])) == (12_000, 10_000)


def test_a_rehearsal_says_200() -> None:
    """Nothing was made."""
    assert sheet_of(EXAMPLE, "?dryRun=true").is_rehearsal
    outcome = ImportFinished(ImportCounts(7, 7, 0, 0), (), is_rehearsal=True)
    (out,) = request_of(EXAMPLE, "?dryRun=true").answer(outcome, NOW)
    assert json.loads(out.payload)["status"] == 200


def test_a_word_that_is_no_choice_is_refused() -> None:
    """Before a row is done."""
    with pytest.raises(Rejected):
        sheet_of(EXAMPLE, "?dryRun=yes")


def test_progress_is_told_beside_the_answer() -> None:
    """At most once, below the topic of the answer."""
    word = request_of(EXAMPLE).progress(sheet_of(EXAMPLE).encode_progress(ImportCounts(7, 2, 1, 1)))
    assert (word.topic, word.qos) == ("claimsvc/u/alice/response/1/progress", 0)
    assert json.loads(word.payload) == {
        "numberOfAll": 7,
        "numberOfProcessed": 4,
        "numberOfCreated": 2,
        "numberOfFailed": 1,
    }


def test_a_file_above_the_limit_is_refused_unread() -> None:
    """And one above what any other call may have is not."""
    limits = Settings().limits
    row = b"d;" + b"x" * limits.payload_bytes + b"\n"
    assert isinstance(request_of(b"ID;PATH\n" + row).command, ImportDevices)
    command = request_of(b"x" * (limits.bulk_bytes + 1)).asked
    assert isinstance(command, Refused)
    assert command.reason is Reason.TOO_LARGE
