"""Operators' commands as processes, at a real broker and service."""

from __future__ import annotations

import json
import re
from pathlib import Path

from claimsvc.founding import Account
from tests.acceptance.conftest import As
from tests.conftest import Connect
from tests.support.clients import Admin, fresh
from tests.support.commands import Commands, local, one_line
from tests.support.processes import World

# --- devices


def test_a_device_from_its_making_to_its_end(root: Commands, shared_world: World) -> None:
    """Its login is told once and works; it is listed, shown and removed by its name, whatever is in that."""
    name = fresh("Flur ü/1")
    made = root.ask("device", "add", name, "--type", "sensor", "--label", "Hall", "--gateway")
    assert made["name"] == name
    login = Account(made["username"], made["password"])
    with Admin(shared_world.port, login):
        pass
    (listed,) = root.ask("device", "list", "--prefix", name)["devices"]
    assert (listed["name"], listed["type"], listed["gateway"], listed["id"]) == (name, "sensor", True, made["id"])
    shown = root.run("device", "show", name)
    assert (shown.code, shown.err) == (0, "")
    for text in (name, made["id"], "sensor", "Hall"):
        assert text in shown.out
    assert made["password"] not in shown.out
    one_line(root.quick("device", "add", name), 1, "already_exists")
    assert root.ask("device", "delete", name, "--yes") == {"deleted": name}
    one_line(root.quick("device", "show", name), 1, name, "not_found")


def test_an_access_token_is_told_once(root: Commands) -> None:
    """The device's login is a token then, and no password."""
    made = root.ask("device", "add", fresh("token"), "--access-token")
    assert set(made) == {"name", "id", "accessToken"}
    assert len(made["accessToken"]) == 20


def test_a_listing_says_where_it_ends(root: Commands) -> None:
    """What is more than asked for is mentioned, and --all has everything, over as many pages as it takes."""
    stem = fresh("many")
    names = [f"{stem}-{number}" for number in range(3)]
    for name in names:
        root.ask("device", "add", name)
    first = root.run("device", "list", "--prefix", stem, "--limit", "2", "--json")
    assert [each["name"] for each in first.json["devices"]] == names[:2]
    assert first.json["more"] is True
    assert "first 2" in first.err
    rest = root.ask("device", "list", "--prefix", stem, "--after", names[1])
    assert ([each["name"] for each in rest["devices"]], rest["more"]) == (names[2:], False)
    everything = root.ask("device", "list", "--prefix", stem, "--all")
    assert [each["name"] for each in everything["devices"]] == names


def test_what_cannot_be_undone_is_asked_for(root: Commands) -> None:
    """Where nobody can be asked, nothing is done without --yes."""
    name = fresh("kept")
    root.ask("device", "add", name)
    one_line(root.run("device", "delete", name), 2, "--yes")
    assert root.ask("device", "show", name)["name"] == name


# --- claiming


def test_a_device_is_claimed_with_a_key_made_here(root: Commands, as_: As, tmp_path: Path) -> None:
    """An admin makes the key, a customer claims with it, an admin is told why it failed before, and releases."""
    name = fresh("lamp")
    root.ask("device", "add", name)
    assert "No window is open" in root.run("why", name).out
    made = root.ask("device", "secret", name, "--expires", "1h")
    assert len(made["secretKey"]) == 22
    key = tmp_path / "key"
    key.write_text(made["secretKey"] + "\n")
    customer = as_("customer")
    one_line(customer.run("claim", name, "--key-file", "-", typed="wrong\n"), 1, "FAILURE", "claimsvc why")
    why = root.run("why", name)
    assert why.code == 0
    assert "failed: the key matched no open window (wrong_key)" in why.out
    assert made["secretKey"] not in why.out
    state = root.ask("why", name)
    assert (state["attempts"][0]["failures"], state["windows"][0]["attempts"]) == (1, 1)
    assert customer.ask("claim", name, "--key-file", str(key))["response"] == "SUCCESS"
    one_line(customer.quick("claim", name, "--no-key"), 1, "CLAIMED")
    assert "has belonged to customer" in root.run("why", name).out
    assert "succeeded" in root.run("why", name).out
    assert customer.run("release", name, "--yes").out == f"Released {name}.\n"
    assert [event["event"] for event in root.ask("events", "--device", name)["events"]][:2] == [
        "device_released",
        "device_claimed",
    ]


def test_a_lockout_is_told(root: Commands, as_: As, admin: Admin, connect: Connect) -> None:
    """Who guessed too often is named, with the time left."""
    name = fresh("guessed")
    admin.make_device(name)
    admin.set_attributes(name, {"claimingData": {"secretKey": "right", "expirationTime": 2**52}})
    guesser = connect("customer")
    for _ in range(5):
        guesser.claim(name, "wrong")
    one_line(as_("customer").run("claim", name, "--no-key"), 1, "locked_out", "seconds")
    out = root.run("why", name).out
    assert "this failure locked the user out" in out
    assert re.search(r"customer is locked out of this device for 14 min \d+ s", out)


def test_claiming_is_allowed_and_forbidden(root: Commands) -> None:
    """The attribute is set by the device's name."""
    name = fresh("allowed")
    root.ask("device", "add", name)
    root.ask("device", "allow", name)
    assert root.ask("why", name)["claimingAllowed"] is True
    root.ask("device", "allow", name, "--deny")
    assert root.ask("why", name)["claimingAllowed"] is False


# --- accounts


def test_accounts(root: Commands, shared_world: World, tmp_path: Path) -> None:
    """A customer, a role, a group and a user of these; the user's login works, and all can be listed and shown."""
    customer = root.ask("customer", "add", fresh("ACME"))
    role, group, username = fresh("mover"), fresh("staff"), fresh("ann")
    root.ask("role", "add", role, "--permission", "DEVICE:CLAIM_DEVICES")
    root.ask("group", "add", group, "--role", role)
    user = root.ask("user", "add", username, "--customer", customer["id"], "--group", group)
    ann = Commands(shared_world.port, Account(user["principal"], user["password"]), tmp_path)
    one_line(ann.quick("device", "list"), 5, "not_permitted")
    one_line(ann.quick("claim", fresh("nothing"), "--no-key"), 1, "not_found")
    assert root.ask("customer", "show", customer["id"]) == customer
    assert root.ask("user", "show", username)["groups"] == [group]
    changed = root.ask("user", "change", username, "--no-groups", "--role", "viewer", "--no-customer")
    assert (changed["groups"], changed["roles"], changed["customerId"]) == ([], ["viewer"], None)
    listed = {kind: root.ask(kind[:-1], "list", "--all")[kind] for kind in ("customers", "roles", "groups", "users")}
    assert customer in listed["customers"]
    assert {"name": role, "permissions": ["DEVICE:CLAIM_DEVICES"]} in listed["roles"]
    assert {"name": group, "roles": [role]} in listed["groups"]
    assert username in {each["username"] for each in listed["users"]}
    root.ask("user", "delete", username, "--yes")
    one_line(root.quick("user", "show", username), 1, "not_found")
    root.ask("customer", "delete", customer["id"], "--yes")
    one_line(root.quick("user", "change", username), 2, "nothing to change")


def test_gateways_are_bound(root: Commands) -> None:
    """A gateway's login is told once, and it may speak for the devices named."""
    gateway, device = fresh("gw"), fresh("child")
    made = root.run("gateway", "add", gateway)
    assert re.search(r"Password\s+\S{22}\s+\(shown once\)", made.out)
    root.ask("device", "add", device)
    assert root.ask("gateway", "bind", gateway, device)["devices"] == [device]
    assert gateway in {each["name"] for each in root.ask("gateway", "list", "--all")["gateways"]}
    listed = root.ask("device", "list", "--prefix", device)["devices"]
    assert listed[0]["gatewayId"]


def test_tenants_are_the_management_tenants(root: Commands, as_: As) -> None:
    """Its admin makes one and its first admin; nobody else may."""
    manager = as_("manager")
    tenant = fresh("acme")
    assert manager.ask("tenant", "add", tenant, "--title", "Acme")["id"] == tenant
    assert tenant in {each["id"] for each in manager.ask("tenant", "list", "--all")["tenants"]}
    boss = manager.ask("user", "add", "boss", "--tenant", tenant, "--role", "admin")
    assert boss["principal"] == f"{tenant}%2Fboss"
    one_line(root.quick("tenant", "list"), 5, "not_permitted")


# --- requests


def test_requests(root: Commands, as_: As) -> None:
    """Announced, listed, refused while the device was not heard of, and removed."""
    operator, device = as_("operator"), fresh("new")
    assert operator.ask("request", "add", device, "--type", "sensor")["status"] == "WAITING_FOR_CONNECTION"
    one_line(operator.quick("request", "accept", device), 1, "not_pending")
    waiting = root.ask("request", "list", "--status", "waiting_for_connection", "--all")["newDeviceRequests"]
    assert device in {each["id"] for each in waiting}
    assert operator.ask("request", "show", device)["owner"] == "operator"
    assert operator.ask("request", "reject", device, "--yes") == {"deleted": device}
    one_line(operator.quick("request", "show", device), 1, "no_request")
    one_line(operator.quick("request", "list", "--status", "NEW"), 2, "--status", "BLOCKED")
    one_line(operator.quick("request", "accept"), 2, "--all")
    assert operator.ask("request", "limit")["isReached"] is False


def test_a_one_time_password_is_told_once(root: Commands) -> None:
    """It takes the place of acceptance."""
    made = root.ask("request", "add", fresh("enrolled"), "--one-time-password")
    assert (made["status"], len(made["enrollmentToken"])) == ("ACCEPTED", 22)


def test_acceptance_of_all_tells_of_each(world: World, tmp_path: Path) -> None:
    """What is refused is a row, and the exit code says that there was one."""
    operator = Commands(world.port, world.accounts["operator"], tmp_path)
    with Admin(world.port, world.accounts["bootstrap"], client_id="a1") as device:
        operator.ask("request", "add", "a1")
        watch = operator.start("request", "watch", "--json", "--every", "0.2")
        assert json.loads(watch.wait_for(lambda line: '"a1"' in line))["status"] == "WAITING_FOR_CONNECTION"
        device.subscribe("claimsvc/c/bootstrap/a1/s/dcr")
        device.publish("claimsvc/c/bootstrap/a1/s/ucr")
        watch.wait_for(lambda line: "PENDING_ACCEPTANCE" in line)
        foreign = "claimsvc/c/bootstrap/a2/request/1/POST/devicecontrol/deviceCredentials"
        with Admin(world.port, world.accounts["bootstrap"], client_id="a2") as other:
            other.publish(foreign, json.dumps({"id": "a1"}))
        contested = json.loads(watch.wait_for(lambda line: '"contested":true' in line))
        assert contested["id"] == "a1"
        refused = operator.run("request", "accept", "--all", "--yes")
        assert refused.code == 1
        assert "0 accepted, 1 refused." in refused.out
        assert "a1" in refused.out
        operator.ask("request", "reject", "a1", "--yes")
        assert json.loads(watch.wait_for(lambda line: "REMOVED" in line))["id"] == "a1"
        assert watch.interrupt() == (130, "claimsvc: interrupted\n")
        operator.ask("request", "add", "a1")
        device.publish("claimsvc/c/bootstrap/a1/s/ucr")
        assert (
            operator.run("request", "accept", "a1").out
            == "Accepted a1. The device gets its login the next time it asks.\n"
        )
        assert device.receive().payload.startswith(b"70,")


# --- many devices


def test_devices_are_imported_and_mended(root: Commands, tmp_path: Path) -> None:
    """A dry run changes nothing; then one is in, and the failed one is mended in its file and sent again."""
    good, bad = fresh("good"), fresh("bad")
    file = tmp_path / "devices.csv"
    file.write_text(f"ID;CREDENTIALS\n{good};secret-12345\n{bad};short\n")
    assert root.quick("import", str(file), "--dry-run").code == 1
    one_line(root.quick("device", "show", good), 1, "not_found")
    failed = root.run("import", str(file), "--json")
    assert (failed.code, failed.json["numberOfCreated"]) == (1, 1)
    assert "secret-12345" not in failed.out + failed.err
    (row,) = failed.json["failedCreationList"]
    assert (row["deviceId"], row["lineNumber"], row["column"]) == (bad, 3, "CREDENTIALS")
    to_mend = Path(failed.json["failedFile"])
    to_mend.write_text(to_mend.read_text().replace("short", "longer-12345"))
    assert root.ask("import", str(to_mend))["numberOfCreated"] == 1
    assert root.ask("device", "show", bad)["name"] == bad


def test_keys_for_a_list_of_devices_claim_them(root: Commands, as_: As, tmp_path: Path) -> None:
    """The file of keys is told once, and makes labels; each key claims its device."""
    name = fresh("boxed")
    file = tmp_path / "names.csv"
    file.write_text(f"name\n{name}\n")
    made = root.ask("device", "secrets", str(file))
    header, row = Path(made["file"]).read_text().splitlines()
    assert header == "name;secretKey;expirationTime"
    assert row.startswith(f"{name};")
    assert local("labels", made["file"], str(tmp_path / "sheet.html")).code == 0
    claim = as_("customer").quick("claim", name, "--key-file", "-", typed=row.split(";")[1] + "\n")
    assert claim.out == f"Claimed {name}.\n"


# --- events


def test_events_are_followed(root: Commands, admin: Admin) -> None:
    """Those there are, oldest first, then each new one once, as lines of JSON."""
    name = fresh("followed")
    admin.make_device(name)
    follow = root.start("events", "--follow", "--json", "--device", name)
    assert json.loads(follow.wait_for(lambda _: True))["event"] == "device_created"
    for end in (2**52, 2**52 + 1):
        admin.set_attributes(name, {"claimingData": {"secretKey": "k", "expirationTime": end}})
        assert json.loads(follow.wait_for(lambda _: True))["event"] == "claiming_data_set"
    code, err = follow.interrupt()
    assert (code, err) == (130, "claimsvc: interrupted\n")


# --- labels


def test_a_label_is_written_once(root: Commands, tmp_path: Path) -> None:
    """Pictures are only their owner's to read, and nothing is written over; no key is made for nothing."""
    name = fresh("labelled")
    root.ask("device", "add", name)
    svg, png = tmp_path / "label.svg", tmp_path / "label.png"
    made = root.ask("label", name, "--new-key", "--svg", str(svg), "--png", str(png))
    assert json.loads(made["content"])["deviceName"] == name
    assert svg.read_bytes().startswith(b"<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert {path.stat().st_mode & 0o777 for path in (svg, png)} == {0o600}
    before = root.ask("why", name)["windows"]
    one_line(root.quick("label", name, "--new-key", "--svg", str(svg)), 2, "label.svg", "exists already")
    assert root.ask("why", name)["windows"] == before
    nobody = fresh("nobody")
    one_line(root.quick("label", nobody, "--svg", str(tmp_path / "none.svg")), 1, nobody)
    assert not (tmp_path / "none.svg").exists()


def test_a_label_shows_a_code(root: Commands) -> None:
    """On the terminal, with the name below; with a template it is a URL."""
    name = fresh("shown")
    root.ask("device", "add", name)
    shown = root.run("label", name)
    assert "█" in shown.out
    assert shown.out.endswith(f"{name}\n")
    template = "https://example.com/claim?d={deviceName}&k={secretKey}"
    done = root.run("label", name, "--key-file", "-", "--claim-url", template, "--json", typed="k&y\n")
    assert done.json["content"] == f"https://example.com/claim?d={name}&k=k%26y"
