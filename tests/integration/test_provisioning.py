"""Provisioning through the whole service but the broker: what it costs, keeps, says once, and never tells."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from claimsvc.dialects.message import Inbound, Request
from claimsvc.sealing import Sealing
from claimsvc.settings import CredentialStore, Settings
from claimsvc.store.sqlite.sqlite_store import SqliteStatements, load_queries
from tests.integration.bench import Bench, answer, call, changes, lines, message, opened

SECRET = "PLANTED-PROVISION-SECRET"


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Bench]:
    """A bench as with the plugin, and two profiles: `made` makes devices, those of `checked` were made before."""
    credentials = settings.credentials.model_copy(update={"store": CredentialStore.PLUGIN})
    async with opened(settings.model_copy(update={"credentials": credentials})) as bench:
        await bench.handle(save("made", "ALLOW_CREATE_NEW_DEVICES"), save("checked", "CHECK_PRE_PROVISIONED_DEVICES"))
        yield bench


def save(name: str, strategy: str, **fields: Any) -> Inbound:
    """Return the admin's call that makes a profile whose key is its name."""
    configuration = {"type": strategy, "provisionDeviceSecret": SECRET}
    body = {
        "name": name,
        "provisionType": strategy,
        "provisionDeviceKey": name,
        "profileData": {"provisionConfiguration": configuration},
    }
    return call("root", uuid.uuid4().hex, "POST", "api/deviceProfile", json.dumps(body | fields).encode())


def ask(key: str = "made", secret: str = SECRET, *, lane: str = "x", **fields: Any) -> Inbound:
    """Return a device's request."""
    shown = {"provisionDeviceKey": key, "provisionDeviceSecret": secret, "deviceName": "Meter"}
    return message(f"claimsvc/c/provision/{lane}//provision/request", json.dumps(shown | fields).encode())


def basic(**fields: Any) -> dict[str, Any]:
    """Return the members that ask for username and password."""
    return {"credentialsType": "MQTT_BASIC", "username": "u", "password": "PLANTED-PASSWORD"} | fields


async def one(bench: Bench, inbound: Inbound) -> Request:
    """Handle a batch of one."""
    (reply,) = await bench.handle(inbound)
    return reply


class Costs:
    """What a batch has read from the store, and hashed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self.hashes: list[str] = []
        run, select = Sealing.seal, SqliteStatements.select

        def selecting(statements: SqliteStatements, name: str, keys: Any) -> list[Any]:
            self.statements.append(name)
            return select(statements, name, keys)

        def sealing(of: Sealing, content: bytes, purpose: str) -> str:
            self.hashes.append("seal")
            return run(of, content, purpose)

        patch.setattr(SqliteStatements, "select", selecting)
        patch.setattr(Sealing, "seal", sealing)
        for name in ("access_token_hash", "provision_secret_hash", "password_hash"):
            patch.setattr(Sealing, name, self._counting(name))

    def _counting(self, name: str) -> Any:
        work = getattr(Sealing, name)

        def counting(*arguments: Any, **more: Any) -> Any:
            self.hashes.append(name)
            return work(*arguments, **more)

        return counting


# --- what strangers cost


@pytest.mark.parametrize("fields", [{}, {"token": "T"}, basic()], ids=["any login", "a token", "a password"])
@pytest.mark.parametrize("shown", [("other", SECRET), ("made", "guess")], ids=["a wrong key", "a wrong secret"])
async def test_a_request_of_a_stranger_costs_one_hash_and_two_look_ups(
    shown: tuple[str, str], fields: dict[str, Any], office: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile, once to see who may set a login and once to decide. Nothing is written, whatever it wishes for."""
    costs = Costs(monkeypatch)
    reply = await one(office, ask(*shown, **fields))
    assert answer(reply)["status"] == "NOT_FOUND"
    assert (costs.statements, costs.hashes, changes(reply)) == (
        ["profiles_by_key"] * 2,
        ["provision_secret_hash"],
        (),
    )


def test_profiles_are_found_by_an_index(office: Bench) -> None:
    """However many there are."""
    for query in ("profiles_by_key", "profiles_by_name", "profiles_by_id"):
        with closing(sqlite3.connect(office.path)) as connection:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {load_queries()[query]}", {"keys": "[]"}).fetchall()
        assert [step[3] for step in plan if "device_profile" in step[3] or step[3].startswith("SEARCH p")], plan
        assert not [step[3] for step in plan if step[3].startswith("SCAN p")]


async def test_what_is_wished_for_is_hashed_once_and_only_for_who_may_have_it(
    office: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch with strangers, whose wishes stay as they are."""
    costs = Costs(monkeypatch)
    replies = await office.handle(ask(secret="guess", **basic()), ask(**basic()), ask("other", **basic()))
    assert [answer(reply)["status"] for reply in replies] == ["NOT_FOUND", "SUCCESS", "NOT_FOUND"]
    assert costs.hashes.count("password_hash") == 1


# --- what comes twice, or together


async def test_a_request_that_comes_twice_in_a_batch_makes_one_device(office: Bench) -> None:
    """Its twin is a repeat, and gets the same answer."""
    first, second = await office.handle(ask(), ask(lane="y"))
    assert answer(first) == answer(second)
    assert office.rows("SELECT name, type FROM device") == [("Meter", "made")]
    assert office.rows("SELECT count(*) FROM credential WHERE principal = 'Meter'") == [(1,)]


@pytest.mark.parametrize("fields", [{}, {"token": "T"}, basic()], ids=["any login", "a token", "a password"])
async def test_a_repeat_writes_nothing_and_promises_a_login(fields: dict[str, Any], office: Bench) -> None:
    """From another lane, and when the broker delivers it again."""
    first = await one(office, ask(**fields))
    again = await one(office, ask(lane="y", **fields))
    redelivered = await one(office, replace(ask(**fields), redelivered=True))
    assert answer(first)["status"] == "SUCCESS"
    assert answer(first) == answer(again) == answer(redelivered)
    assert (changes(again), changes(redelivered)) == ((), ())
    assert (first.promises_login, again.promises_login) == (True, True)


async def test_another_password_is_no_repeat(office: Bench) -> None:
    """The stored one is compared by its sealed copy."""
    await office.handle(ask(**basic()))
    told = answer(await one(office, ask(**basic(password="another"))))
    assert told == {"errorMsg": "The device has been provisioned already", "status": "FAILURE"}


async def test_after_the_reissue_window_it_is_over(office: Bench) -> None:
    """Also when nothing has swept the sealed copy yet."""
    await office.handle(ask())
    office.write("UPDATE credential SET sealed_until = 1 WHERE principal = 'Meter'")
    assert answer(await one(office, ask()))["status"] == "FAILURE"


async def test_a_profile_of_the_same_batch_provisions_from_the_next_one_on(office: Bench) -> None:
    """What its devices need was not loaded with it; its maker has no answer yet, either."""
    wish = ask("late", token="T")
    _, early = await office.handle(save("late", "ALLOW_CREATE_NEW_DEVICES"), wish)
    assert answer(early)["status"] == "NOT_FOUND"
    assert answer(await one(office, wish))["status"] == "SUCCESS"


async def test_a_key_that_is_taken_in_the_same_batch_costs_the_others_nothing(office: Bench) -> None:
    """Each is decided on what the one before it did."""
    replies = await office.handle(
        save("a", "DISABLED", provisionDeviceKey="same"), save("b", "DISABLED", provisionDeviceKey="same")
    )
    assert [answer(reply)["status"] for reply in replies] == [200, 400]


async def test_a_token_that_somebody_has_is_not_taken_over(office: Bench) -> None:
    """It is looked up by its hash, in the store and among what the batch has made."""
    assert answer(await one(office, ask(token="T")))["status"] == "SUCCESS"
    before = office.rows("SELECT * FROM credential ORDER BY login")
    told = answer(await one(office, ask(deviceName="Other", token="T")))
    assert (told["status"], "belongs to another" in told["errorMsg"]) == ("FAILURE", True)
    assert office.rows("SELECT * FROM credential ORDER BY login") == before
    replies = await office.handle(ask(deviceName="A", token="U"), ask(deviceName="B", token="U"))
    assert [answer(reply)["status"] for reply in replies] == ["SUCCESS", "FAILURE"]


async def test_a_device_that_was_made_beforehand_is_let_in_once(office: Bench) -> None:
    """With everything its rule must see: its type, login and mark."""
    body = json.dumps({"name": "Meter", "type": "checked"}).encode()
    await office.handle(call("root", "1", "POST", "api/device?accessToken=T", body))
    first = await one(office, ask("checked", token="N"))
    assert answer(first)["credentialsValue"] == "N"
    assert office.rows("SELECT count(*) FROM credential WHERE principal = 'Meter'") == [(1,)]
    assert first.outbounds[-1].payload == b"disconnect Meter\n"
    assert answer(await one(office, ask("checked", token="M")))["status"] == "FAILURE"
    assert answer(await one(office, ask("checked")))["credentialsValue"] == "N"


async def test_the_device_limit_counts_those_that_are_provisioned(settings: Settings) -> None:
    """Within a batch, too."""
    credentials = settings.credentials.model_copy(update={"store": CredentialStore.PLUGIN})
    registration = settings.registration.model_copy(update={"device_limit": 2})
    async with opened(
        settings.model_copy(update={"credentials": credentials, "registration": registration})
    ) as bench:
        await bench.handle(save("made", "ALLOW_CREATE_NEW_DEVICES"))
        replies = await bench.handle(*(ask(deviceName=name) for name in ("A", "B", "C")))
        assert [answer(reply)["status"] for reply in replies] == ["SUCCESS", "SUCCESS", "FAILURE"]


async def test_where_somebody_else_keeps_the_logins_there_is_a_text(settings: Settings) -> None:
    """The profile can be made, for the day that changes."""
    credentials = settings.credentials.model_copy(update={"store": CredentialStore.NONE})
    async with opened(settings.model_copy(update={"credentials": credentials})) as bench:
        await bench.handle(save("made", "ALLOW_CREATE_NEW_DEVICES"))
        told = answer(await one(bench, ask()))
        assert (told["status"], "keeps no logins" in told["errorMsg"]) == ("FAILURE", True)


# --- listings, secrets, the log


async def test_profiles_are_listed_by_name_in_pages(office: Bench) -> None:
    """Each with its key, none with its secret; of the caller's tenant alone."""
    await office.handle(save("another", "DISABLED"))
    office.write("INSERT INTO tenant VALUES ('acme', 'acme', 0)")
    office.write("INSERT INTO device_profile VALUES ('9', 'acme', 'theirs', 'create', 'theirs', 'h', 0)")
    pages = [
        answer(await one(office, call("root", f"p{page}", "GET", f"api/deviceProfiles?pageSize=2&page={page}")))[
            "body"
        ]
        for page in (0, 1, 2)
    ]
    assert [[each["name"] for each in page["data"]] for page in pages] == [["another", "checked"], ["made"], []]
    assert {(page["totalPages"], page["totalElements"]) for page in pages} == {(2, 3)}
    assert [page["hasNext"] for page in pages] == [True, False, False]
    assert SECRET not in json.dumps(pages)


async def test_a_new_secret_ends_the_old_one(office: Bench) -> None:
    """And is shown in the answer that sets it, once."""
    ((profile_id,),) = office.rows("SELECT id FROM device_profile WHERE name = 'made'")
    configuration = {"type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "new"}
    data = {"provisionConfiguration": configuration}
    changed = await one(office, save("made", "ALLOW_CREATE_NEW_DEVICES", id={"id": profile_id}, profileData=data))
    assert answer(changed)["body"]["profileData"]["provisionConfiguration"]["provisionDeviceSecret"] == "new"
    read = await one(office, call("root", "r", "GET", f"api/deviceProfile/{profile_id}"))
    assert answer(read)["body"]["profileData"]["provisionConfiguration"]["provisionDeviceSecret"] is None
    assert answer(await one(office, ask()))["status"] == "NOT_FOUND"
    assert answer(await one(office, ask(secret="new")))["status"] == "SUCCESS"


async def test_no_secret_is_logged_or_lies_in_the_files(office: Bench, settings: Settings) -> None:
    """Neither the profile's, nor what a device wishes for, guesses or is given."""
    made_up = answer(await one(office, ask(deviceName="A")))["credentialsValue"]
    await office.handle(
        ask(deviceName="B", token="PLANTED-TOKEN"),
        ask(deviceName="C", **basic(username="c")),
        ask(deviceName="C", **basic(username="c", password="PLANTED-OTHER")),
        ask(secret="PLANTED-GUESS", deviceName="D"),
        ask(secret=["PLANTED-LIST"]),  # type: ignore[arg-type]
        message("claimsvc/c/provision/x//provision/request", b"PLANTED-GARBAGE"),
    )
    said = [(line["command"], line["outcome"], line.get("reason")) for line in lines(office) if "command" in line]
    assert said[2:] == [
        ("ProvisionDevice", "done", None),
        ("ProvisionDevice", "done", None),
        ("ProvisionDevice", "done", None),
        ("ProvisionDevice", "refused", "already_provisioned"),
        ("ProvisionDevice", "refused", "unknown_key"),
        ("ProvisionDevice", "refused", "malformed"),
        ("ProvisionDevice", "refused", "malformed"),
    ]
    files = [path.read_bytes() for path in settings.store.path.parent.iterdir() if path.is_file()]
    for planted in ("PLANTED", made_up):
        assert planted not in office.out.getvalue()
        assert not [1 for content in files if planted.encode() in content]


async def test_the_line_of_a_request_names_lane_and_device(office: Bench) -> None:
    """There is no principal yet."""
    await office.handle(ask())
    line = [each for each in lines(office) if each.get("command") == "ProvisionDevice"][-1]
    assert (line["lane"], line["principal"], line["device"]) == ("claimsvc/c/provision/x/", None, "Meter")
