"""Bulk registration as Cumulocity's users send it (docs/original-systems.md#bulk-columns), and attacks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Arrive
from tests.support.clients import PATIENCE_S, Client, fresh
from tests.support.importers import (
    PASSWORD,
    Importer,
    counts,
    enters,
    failures,
    groups,
    own_example,
)
from tests.support.newcomers import Registered
from tests.support.processes import World


@pytest.fixture
def sender(gate: World) -> Iterator[Importer]:
    """The gate's admin."""
    with Importer(gate.port, gate.accounts["admin"]) as client:
        yield client


@pytest.fixture
def manager(gate: World) -> Iterator[Importer]:
    """The management tenant's admin."""
    with Importer(gate.port, gate.accounts["manager"]) as client:
        yield client


# --- the example of Cumulocity's reference


def test_the_documented_file_twice(gate: World, sender: Importer) -> None:
    """Seven devices that log in with their passwords at once; sent again, seven updates and nothing else new."""
    text, ids = own_example()
    answer = sender.send(text)
    assert counts(answer) == [7, 7, 0, 7]
    assert (answer.body["credentialUpdatedList"], answer.body["failedCreationList"]) == ([], [])
    assert [each for each in ids if not enters(gate, each)] == []
    assert not enters(gate, ids[0], "wrong-password")
    stem = ids[0].removesuffix("_101")
    made = [path for (path,) in gate.rows("SELECT path FROM device_group WHERE path LIKE ?", f"csv {stem}%")]
    inner = {f"csv {stem}/subgroup0", *(f"csv {stem}1/subgroup{number}" for number in (1, 2, 3))}
    assert sorted(made) == sorted({f"csv {stem}", f"csv {stem}1"} | inner)
    assert groups(gate, ids[0]) == [(f"csv {stem}/subgroup0",)]
    again = sender.send(text.replace(PASSWORD, "new-password"))
    assert counts(again) == [7, 0, 0, 7]
    assert again.body["credentialUpdatedList"] == [
        {"bulkNewDeviceStatus": "CREDENTIAL_UPDATED", "deviceId": each} for each in ids
    ]
    assert enters(gate, ids[6], "new-password")
    assert not enters(gate, ids[6])
    assert groups(gate, ids[0]) == [(f"csv {stem}/subgroup0",)]


def test_the_documented_answer(sender: Importer) -> None:
    """Five rows, three of them new, one known, one bad; the answer has the documented members."""
    stem = fresh("id")
    counts(sender.send(f"ID;CREDENTIALS\n{stem}4;credentials0\n"))
    rows = [f"{stem}{number};credentials{number}" for number in (1, 2, 3, 4)]
    answer = sender.send("\n".join(["ID;CREDENTIALS", *rows, f"{stem}5;short", ""]))
    assert counts(answer) == [5, 3, 1, 4]
    assert answer.body["credentialUpdatedList"] == [
        {"bulkNewDeviceStatus": "CREDENTIAL_UPDATED", "deviceId": f"{stem}4"}
    ]
    (failed,) = answer.body["failedCreationList"]
    assert (failed["bulkNewDeviceStatus"], failed["deviceId"]) == ("FAILED", f"{stem}5")
    assert failed["failureReason"].startswith("Error during password validation. : ")
    assert failed["line"] == f"DeviceInfo{{id='{stem}5', credentials='****'}}"
    assert failures(answer) == [(6, "CREDENTIALS", "invalid_value")]


@pytest.mark.parametrize("form", ["tabs", "commas", "quotes", "Windows", "a multipart body"])
def test_files_in_every_form(form: str, gate: World, sender: Importer) -> None:
    """The result is the same."""
    text, ids = own_example()
    if form == "tabs":
        text = text.replace(";", "\t")
    elif form == "commas":
        text = text.replace(";", ",").replace("Device 101", '"Device, 101"')
    elif form == "quotes":
        text = "\n".join(";".join(f'"{cell}"' for cell in line.split(";")) for line in text.splitlines())
    elif form == "Windows":
        text = "\ufeff" + text.replace("\n", "\r\n")
    else:
        head = (
            '--B\r\nContent-Disposition: form-data; name="file"; filename="devices.csv"\r\nContent-Type: plain/text'
        )
        text = f"{head}\r\n\r\n{text}\r\n--B--\r\n"
    assert counts(sender.send(text)) == [7, 7, 0, 7]
    assert enters(gate, ids[0])
    (label,) = gate.rows("SELECT label FROM device WHERE name = ?", ids[0])
    assert label == ("Device, 101" if form == "commas" else "Device 101",)


# --- tenants


def test_an_ordinary_tenants_column_is_ignored(gate: World, sender: Importer) -> None:
    """The device is the sender's own."""
    name = fresh("id")
    assert counts(sender.send(f"ID,CREDENTIALS,TENANT\n{name},{PASSWORD},management\n")) == [1, 1, 0, 1]
    assert gate.rows("SELECT tenant_id FROM device WHERE name = ?", name) == [("default",)]


def test_the_management_tenant_names_each_devices_tenant(gate: World, manager: Importer) -> None:
    """A file of its without TENANT is refused, one with it registers for each; nobody's fail."""
    name, tenant = fresh("id"), fresh("tenant")
    refused = manager.send(f"ID,CREDENTIALS\n{name},{PASSWORD}\n")
    assert (refused.status, refused.body["code"]) == (422, "invalid_value")
    assert manager.call("POST", "/claimsvc/tenants", {"id": tenant, "title": tenant}).status == 201
    rows = [f"{name},{PASSWORD},{tenant}", f"{name}-b,{PASSWORD},", f"{name}-c,{PASSWORD},{fresh('none')}"]
    answer = manager.send("\n".join(["ID,CREDENTIALS,TENANT", *rows, ""]))
    assert counts(answer) == [3, 1, 2, 1]
    assert failures(answer) == [(3, "TENANT", "not_found"), (4, "TENANT", "not_found")]
    with (
        Registered(gate, ["70", tenant, f"{tenant}%2Fdevice_{name}", PASSWORD])
        if not gate.has_plugin
        else (Registered(gate, ["70", tenant, f"device_{name}", PASSWORD])) as device
    ):
        assert device.open_window({})["status"] == "SUCCESS"
    assert gate.rows("SELECT tenant_id FROM device WHERE name LIKE ?", f"{name}%") == [(tenant,)]


# --- columns


@pytest.mark.parametrize("column", ["PATH", "ICCID", "IDTYPE", "SHELL"])
@pytest.mark.parametrize("beside", ["", ";TYPE", ";NAME"])
def test_columns_that_need_type_and_name(column: str, beside: str, sender: Importer) -> None:
    """The file is refused whole, and nobody is made."""
    name = fresh("id")
    answer = sender.send(f"ID;CREDENTIALS;{column}{beside}\n{name};{PASSWORD};1{';x' if beside else ''}\n")
    assert (answer.status, answer.body["error"]) == (400, "devicecontrol/Bad Request")
    assert f"{column}: this column also needs TYPE and NAME" in answer.body["message"]
    assert not sender.exists(name)


def test_what_a_file_says_is_kept_on_the_device(sender: Importer) -> None:
    """SHELL, ICCID and IDTYPE make Cumulocity's fragments; empty cells none, and the type of id its default."""
    text, ids = own_example()
    counts(sender.send(text))
    assert sender.attributes(ids[0]) == {
        "c8y_Mobile": {"iccid": "111111111"},
        "c8y_SupportedOperations": ["c8y_Command"],
        "externalIds": [{"type": "c8y_Serial", "externalId": ids[0]}],
    }
    assert sender.attributes(ids[2]) == {
        "c8y_Mobile": {"iccid": "333333333"},
        "externalIds": [{"type": "c8y_Imei", "externalId": ids[2]}],
    }
    assert sender.attributes(ids[5]) == {"externalIds": [{"type": "c8y_Serial", "externalId": ids[5]}]}
    found = sender.call("GET", f"/api/tenant/devices?deviceName={ids[0]}").body
    assert (found["type"], found["label"]) == ("type_of_device", "Device 101")


def test_properties_and_external_ids_are_kept(sender: Importer) -> None:
    """Dotted columns nest."""
    name = fresh("id")
    header = "ID;CREDENTIALS;com_cumulocity_model_Agent.active;external-c8y_Imei"
    assert counts(sender.send(f"{header}\n{name};{PASSWORD};true;49\n")) == [1, 1, 0, 1]
    assert sender.attributes(name) == {
        "com_cumulocity_model_Agent": {"active": "true"},
        "externalIds": [{"type": "c8y_Serial", "externalId": name}, {"type": "c8y_Imei", "externalId": "49"}],
    }


# --- simple files, certificates and one-time passwords


def test_a_simple_file_end_to_end(gate: World, sender: Importer, arrive: Arrive) -> None:
    """Announced, polled, accepted, placed in its group, and in."""
    first, second, group = fresh("device"), fresh("device"), fresh("Group A")
    answer = sender.send(f"ID;PATH\n{first};{group}\n{second};{group}/Group B\n")
    assert counts(answer) == [2, 2, 0, 2]
    assert sender.status(first) == sender.status(second) == "WAITING_FOR_CONNECTION"
    assert not sender.exists(second)
    newcomer = arrive(second)
    newcomer.listen()
    newcomer.ask()
    assert sender.accept(second).status == 200
    with Registered(gate, newcomer.credentials()) as device:
        assert device.open_window({})["status"] == "SUCCESS"
    assert groups(gate, second) == [(f"{group}/Group B",)]
    assert failures(sender.send(f"ID;PATH\n{first};{group}\n")) == [(2, "ID", "already_requested")]


def test_rows_that_fail_stop_no_other(gate: World, sender: Importer) -> None:
    """Each is told with its line, its column and why."""
    stem = fresh("id")
    rows = [
        f"{stem}-1;{PASSWORD};;",
        f"{stem}-2;{PASSWORD};",
        f"{stem}-3;{PASSWORD};;;",
        f";{PASSWORD};;",
        f"{stem}-5;short;;",
        f"{stem}-6;{PASSWORD};CERTIFICATES;",
        f"{stem}-7;;CERTIFICATES;{32 * 'o'}",
        f"{stem}-8;;CERTIFICATES;{33 * 'o'}",
        f"{stem}/9;{PASSWORD};;",
        f"{stem}-1;{PASSWORD};;",
        f"{stem}-11;{PASSWORD};;",
    ]
    answer = sender.send("\n".join(["ID;CREDENTIALS;AUTH_TYPE;ENROLLMENT_OTP", *rows, ""]))
    assert counts(answer) == [11, 3, 8, 3]
    assert failures(answer) == [
        (3, None, "malformed"),
        (4, None, "malformed"),
        (5, "ID", "invalid_device_id"),
        (6, "CREDENTIALS", "invalid_value"),
        (7, "CREDENTIALS", "invalid_value"),
        (9, "ENROLLMENT_OTP", "invalid_value"),
        (10, "ID", "invalid_device_id"),
        (11, "ID", "already_exists"),
    ]
    assert enters(gate, f"{stem}-1")
    assert enters(gate, f"{stem}-11")
    made = gate.rows("SELECT name FROM device WHERE name LIKE ? ORDER BY name", f"{stem}%")
    assert made == [(f"{stem}-1",), (f"{stem}-11",), (f"{stem}-7",)]


BROKEN = {
    "a header only": b"ID;CREDENTIALS\n",
    "an empty file": b"",
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "random bytes": bytes(range(1, 256)),
    "no header": f"id_101;{PASSWORD}\nid_102;{PASSWORD}\n".encode(),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_body_that_is_no_file_is_refused(body: bytes, gate: World, sender: Importer) -> None:
    """400, nothing is stored, and no cell is in the answer."""
    before = gate.rows("SELECT (SELECT count(*) FROM device), (SELECT max(number) FROM event)")
    answer = sender.send(body)
    assert (answer.status, answer.body["error"]) == (400, "devicecontrol/Bad Request")
    assert PASSWORD not in json.dumps(answer.body)
    assert gate.rows("SELECT (SELECT count(*) FROM device), (SELECT max(number) FROM event)") == before


def test_a_one_time_password_of_a_file_enrols_its_device(gate: World, sender: Importer, arrive: Arrive) -> None:
    """The request is ACCEPTED from the start and valid once; the device is in its group before it connects."""
    name, group = fresh("006064ce"), fresh("bulk group")
    header = "ID;TYPE;NAME;ICCID;IDTYPE;PATH;SHELL;AUTH_TYPE;ENROLLMENT_OTP"
    row = f"{name};c8y_Device;Sample_Device1;+491555555;c8y_Serial;{group}/sub;1;CERTIFICATES;somePassword@123"
    assert counts(sender.send(f"{header}\n{row}\n")) == [1, 1, 0, 1]
    assert sender.status(name) == "ACCEPTED"
    assert groups(gate, name) == [(f"{group}/sub",)]
    stranger, device = arrive(fresh("stranger")), arrive(fresh("address"))
    assert stranger.poll(name, securityToken="guess").status == 404
    given = device.poll(name, securityToken="somePassword@123")
    assert given.status == 201
    assert enters(gate, name, given.body["password"])
    assert stranger.poll(name, securityToken="somePassword@1234").status == 404
    again = sender.send(f"{header}\n{row}\n")
    assert failures(again) == [(2, "ID", "already_requested")]


def test_a_thief_who_polled_first_gets_nothing(gate: World, sender: Importer, arrive: Arrive) -> None:
    """The file's password ends the request that waits: nobody can accept it any more, nor be told a login of it."""
    name = fresh("device")
    sender.announce(name)
    thief = arrive(name) if gate.has_plugin else arrive(fresh("thief"))
    thief.listen()
    assert thief.poll(name).status == 404
    assert sender.status(name) == "PENDING_ACCEPTANCE"
    assert counts(sender.send(f"ID;CREDENTIALS\n{name};{PASSWORD}\n")) == [1, 1, 0, 1]
    assert (sender.look(name).status, sender.accept(name).status) == (404, 404)
    assert thief.poll(name).status == 404
    thief.ask()
    assert thief.topics_heard() == set()
    assert enters(gate, name)


def test_a_new_password_ends_the_devices_connections(gate: World, sender: Importer) -> None:
    """Where the broker can, which is with the plugin; a device the file does not name stays."""
    name, other = fresh("id"), fresh("id")
    assert counts(sender.send(f"ID;CREDENTIALS\n{name};{PASSWORD}\n{other};{PASSWORD}\n")) == [2, 2, 0, 2]
    with (
        Registered(gate, ["70", "default", f"device_{name}", PASSWORD]) as device,
        Registered(gate, ["70", "default", f"device_{other}", PASSWORD]) as bystander,
    ):
        assert counts(sender.send(f"ID;CREDENTIALS\n{name};new-password\n")) == [1, 0, 0, 1]
        if gate.has_plugin:
            device.disconnected.get(timeout=PATIENCE_S)
        assert bystander.open_window({})["status"] == "SUCCESS"
    assert not enters(gate, name)


def test_a_file_cannot_take_what_is_somebody_elses(gate: World, sender: Importer) -> None:
    """A device with a login of another name, and a user's name that a device's would be."""
    device, user = fresh("Device"), fresh("user")
    login = sender.make_device(device)
    sender.make_user(f"device_{user}", roles=["viewer"])
    answer = sender.send(f"ID;CREDENTIALS\n{device};{PASSWORD}\n{user};{PASSWORD}\n")
    assert failures(answer) == [(2, "ID", "name_taken"), (3, "ID", "name_taken")]
    with Client(gate.port, login) as still:
        assert still.open_window({})["status"] == "SUCCESS"


def test_who_may_not_register_devices_may_not_by_file(gate: World, sender: Importer) -> None:
    """Neither a viewer nor a device; an operator may."""
    text = f"ID;CREDENTIALS\n{fresh('id')};{PASSWORD}\n"
    for account, status in (
        (sender.make_user(fresh("viewer"), roles=["viewer"]), 403),
        (gate.accounts["device"], 403),
        (gate.accounts["operator"], 201),
    ):
        with Importer(gate.port, account) as client:
            assert client.send(text).status == status, account.username
