"""Files of devices and lists of claim keys as wholes: rehearsals, progress, size, hostile files, keys for boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.clients import Client, fresh
from tests.support.importers import (
    BULK,
    PASSWORD,
    Importer,
    counts,
    own_example,
)
from tests.support.newcomers import Registered
from tests.support.processes import World


@pytest.fixture
def sender(gate: World) -> Iterator[Importer]:
    """The gate's admin."""
    with Importer(gate.port, gate.accounts["admin"]) as client:
        yield client


def test_a_rehearsal_tells_and_does_nothing(sender: Importer) -> None:
    """200 with the answer that the file would have; a misspelt one is refused."""
    text, ids = own_example()
    rehearsed = sender.send(text, "?dryRun=true")
    assert (rehearsed.status, rehearsed.body["numberOfCreated"]) == (200, 7)
    assert not sender.exists(ids[0])
    assert sender.send(text, "?dryRun=1").status == 400
    assert not sender.exists(ids[0])
    done = sender.send(text)
    assert done.body == rehearsed.body


def test_progress_is_told_on_the_lane(sender: Importer) -> None:
    """After each slice, beside the answer."""
    stem, number = fresh("id"), fresh("r")
    text = "\n".join(["ID;PATH", *(f"{stem}-{each};" for each in range(450)), ""])
    answer = sender.lane(f"response/{number}")
    sender.subscribe(answer, f"{answer}/progress")
    sender.publish(sender.lane(f"request/{number}/POST{BULK}"), text)
    told = [sender.receive() for _ in range(4)]
    progress = [json.loads(each.payload) for each in told if each.topic == f"{answer}/progress"]
    assert [each["numberOfProcessed"] for each in progress] == [200, 400, 450]
    assert {each["numberOfAll"] for each in progress} == {450}
    assert told[-1].topic == answer
    assert json.loads(told[-1].payload)["body"]["numberOfCreated"] == 450


def test_a_file_as_large_as_may_be_and_one_above(gate: World, sender: Importer) -> None:
    """The first is worked through, the second is answered `too_large`; others are answered as ever."""
    limit, stem = gate.settings.limits.bulk_bytes, fresh("id")
    head, rows = "ID;AUTH_TYPE;note\n", 150
    note = "x" * ((limit - len(head)) // rows - len(f"{stem}-000;CERTIFICATES;\n"))
    text = head + "".join(f"{stem}-{number:03};CERTIFICATES;{note}\n" for number in range(rows))
    fitting = text.encode().ljust(limit, b"\n")
    with Client(gate.port, gate.accounts["device"]) as device:
        assert counts(sender.send(fitting)) == [rows, rows, 0, rows]
        assert device.open_window({})["status"] == "SUCCESS"
        refused = sender.send(fitting + b"\n")
        assert (refused.status, refused.body["code"]) == (413, "too_large")
        assert device.open_window({})["status"] == "SUCCESS"


def test_a_hostile_file_of_a_device_holds_nobody_up(gate: World, sender: Importer) -> None:
    """Whoever it is, the header is read before a permission is asked: it is short, or refused."""
    with Importer(gate.port, gate.accounts["device"]) as device:
        for body in (
            b"--\n" * 5_000_000,
            b";".join(b"c%d" % number for number in range(1_000_000)),
            b"x" * 15_000_000,
        ):
            answer = device.send(body)
            assert answer.status == 400
    assert sender.exists(fresh("nobody")) is False


# --- lists of claim keys


def test_a_list_of_claim_keys_lets_boxes_be_claimed(gate: World, sender: Importer) -> None:
    """Devices are made where they are missing; each key of the answer claims its device, once."""
    first, second, owned = fresh("Box"), fresh("Box"), fresh("Box")
    text = f"name;secretKey;type;label\n{first};;box;A box\n{second};own-key-1;;\n"
    answer = sender.call("POST", "/claimsvc/claimKeys", text.encode())
    assert counts(answer) == [2, 2, 0, 2]
    header, *lines = (line.split(";") for line in answer.body["csv"].splitlines())
    assert header == ["name", "secretKey", "expirationTime"]
    assert [line[0] for line in lines] == [first, second]
    assert lines[1][1] == "own-key-1"
    with Client(gate.port, sender.make_claimer(fresh("alice"))) as customer:
        assert customer.claim(first, "guess").body == "FAILURE"
        claimed = customer.claim(first, lines[0][1])
        assert (claimed.status, claimed.body["response"]) == (200, "SUCCESS")
        assert claimed.body["device"]["label"] == "A box"
        assert customer.claim(second, "own-key-1").status == 200
    again = sender.call("POST", "/claimsvc/claimKeys", f"name\n{first}\n{owned}\n".encode())
    assert counts(again) == [2, 1, 1, 1]
    (failed,) = again.body["failedList"]
    assert (failed["lineNumber"], failed["column"], failed["code"]) == (2, "name", "already_claimed")


def test_u17_a_list_sent_again_kills_no_label(gate: World, sender: Importer) -> None:
    """On both kinds of broker: the printed key claims, only the added row gets one, and `replace=true` replaces."""
    first, second = fresh("Box"), fresh("Box")
    printed = sender.call("POST", "/claimsvc/claimKeys", f"name\n{first}\n".encode()).body["csv"].split(";")[3]
    again = sender.call("POST", "/claimsvc/claimKeys", f"name\n{first}\n{second}\n".encode())
    assert counts(again) == [2, 1, 1, 1]
    assert [(row["lineNumber"], row["code"]) for row in again.body["failedList"]] == [(2, "key_exists")]
    replaced = sender.call("POST", "/claimsvc/claimKeys?replace=true", f"name\n{second}\n".encode())
    assert (counts(replaced), replaced.body["numberOfReplaced"]) == ([1, 0, 0, 1], 1)
    with Client(gate.port, sender.make_claimer(fresh("alice"))) as customer:
        assert customer.claim(first, printed).body["response"] == "SUCCESS"
        assert customer.claim(second, again.body["csv"].splitlines()[1].split(";")[1]).body == "FAILURE"


def test_a_device_of_a_list_is_the_one_that_logs_in_by_its_name(gate: World, sender: Importer) -> None:
    """It was claimed in its box; when it comes it is its customer's."""
    name = fresh("Box")
    answer = sender.call("POST", "/claimsvc/claimKeys", f"name;secretKey\n{name};own-key-1\n".encode())
    assert counts(answer) == [1, 1, 0, 1]
    with Client(gate.port, sender.make_claimer(fresh("alice"))) as customer:
        assert customer.claim(name, "own-key-1").status == 200
    assert counts(sender.send(f"ID;CREDENTIALS\n{name};{PASSWORD}\n")) == [1, 0, 0, 1]
    with Registered(gate, ["70", "default", f"device_{name}", PASSWORD]) as device:
        assert device.open_window({})["error"] == "already_claimed"


def test_groups_of_devices_can_be_listed(sender: Importer) -> None:
    """With their paths."""
    group = fresh("Aisle")
    counts(sender.send(f"ID;PATH\n{fresh('id')};{group}/Shelf\n"))
    paths: list[str] = []
    path: str | None = "/claimsvc/deviceGroups?limit=1000"
    while path:
        page = sender.call("GET", path).body
        paths += [each["path"] for each in page["deviceGroups"]]
        path = page.get("next")
    assert {group, f"{group}/Shelf"} <= set(paths)
    assert paths == sorted(paths)
