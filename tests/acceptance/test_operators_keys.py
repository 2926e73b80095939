"""Claim keys and customers' users by command, at a real broker and service: no label dies unseen."""

from __future__ import annotations

from pathlib import Path

from claimsvc.founding import Account
from tests.acceptance.conftest import As
from tests.support.clients import fresh
from tests.support.commands import Commands, one_line
from tests.support.processes import World


def keys_in(file: str) -> dict[str, str]:
    """Return the key of each device of a file that `device secrets` wrote."""
    return dict(line.split(";")[:2] for line in Path(file).read_text().splitlines()[1:])


def test_u17_a_second_key_needs_a_word(root: Commands, as_: As) -> None:
    """`device secret` fails on an open key, and says how to replace it; `why` tells of the replaced one."""
    name = fresh("labelled")
    root.ask("device", "add", name)
    printed = root.ask("device", "secret", name)["secretKey"]
    one_line(root.run("device", "secret", name), 1, "key_exists", "--replace")
    one_line(root.run("label", name, "--new-key"), 1, "key_exists", "--replace")
    one_line(root.quick("label", name, "--replace"), 2, "--new-key")
    customer = as_("customer")
    assert customer.run("claim", name, "--key-file", "-", typed=printed + "\n").out == f"Claimed {name}.\n"
    customer.ask("release", name, "--yes")
    printed = root.ask("device", "secret", name)["secretKey"]
    root.ask("label", name, "--new-key", "--replace")
    one_line(customer.run("claim", name, "--key-file", "-", typed=printed + "\n"), 1, "FAILURE")
    why = " ".join(root.run("why", name).out.split())
    assert "replaced the claim key" in why
    assert "labels printed before that no longer work" in why
    replaced = root.ask("device", "secret", name, "--replace")["secretKey"]
    assert customer.run("claim", name, "--key-file", "-", typed=replaced + "\n").code == 0


def test_u17_a_refused_label_leaves_no_picture(root: Commands, tmp_path: Path) -> None:
    """The file is for the next try."""
    name = fresh("pictured")
    root.ask("device", "add", name)
    root.ask("device", "secret", name)
    picture = tmp_path / "label.svg"
    one_line(root.quick("label", name, "--new-key", "--svg", str(picture)), 1, "key_exists")
    assert not picture.exists()
    root.ask("label", name, "--new-key", "--replace", "--svg", str(picture))
    assert picture.exists()


def test_u17_a_file_sent_again_keeps_printed_labels(root: Commands, as_: As, tmp_path: Path) -> None:
    """Two rows are printed, one is added: two fail with the way to replace them, one is done, the labels work."""
    first, second, third = fresh("box"), fresh("box"), fresh("box")
    file = tmp_path / "boxes.csv"
    file.write_text(f"name\n{first}\n{second}\n")
    printed = keys_in(root.ask("device", "secrets", str(file))["file"])
    file.write_text(f"name\n{first}\n{second}\n{third}\n")
    rehearsed = root.run("device", "secrets", str(file), "--dry-run")
    assert (rehearsed.code, "3 rows: 1 would succeed, 2 would fail." in rehearsed.out) == (1, True)
    assert "2 devices have a valid claim key" in rehearsed.err
    done = root.run("device", "secrets", str(file))
    assert (done.code, "3 rows: 1 done (1 new), 2 failed." in done.out) == (1, True)
    assert "--replace" in done.err
    assert "replaced" not in done.out.split("\n", 1)[0]
    claim = as_("customer").run("claim", first, "--key-file", "-", typed=printed[first] + "\n")
    assert claim.out == f"Claimed {first}.\n"


def test_u17_a_file_replaces_keys_when_told(root: Commands, as_: As, tmp_path: Path) -> None:
    """The rehearsal and the result say how many labels stop working."""
    names = [fresh("box") for _ in range(2)]
    file = tmp_path / "boxes.csv"
    file.write_text("\n".join(["name", *names, ""]))
    printed = keys_in(root.ask("device", "secrets", str(file))["file"])
    rehearsed = root.run("device", "secrets", str(file), "--dry-run", "--replace")
    assert rehearsed.out.startswith("2 rows: 2 would succeed, 0 would fail. 2 keys would be replaced. Nothing was")
    done = root.run("device", "secrets", str(file), "--replace", "--out", str(tmp_path / "new.csv"))
    assert done.out == "2 rows: 2 done (0 new), 0 failed. 2 keys replaced.\n"
    customer, name = as_("customer"), names[0]
    one_line(customer.run("claim", name, "--key-file", "-", typed=printed[name] + "\n"), 1, "FAILURE")
    assert "replaced the claim key" in " ".join(root.run("why", name).out.split())
    new = keys_in(str(tmp_path / "new.csv"))[name]
    assert customer.run("claim", name, "--key-file", "-", typed=new + "\n").code == 0


def test_u8_a_customers_user_claims_without_a_role_named(root: Commands, shared_world: World, tmp_path: Path) -> None:
    """Three commands from nothing to a claimed device."""
    customer, device = root.ask("customer", "add", fresh("Smith")), fresh("lamp")
    made = root.ask("user", "add", fresh("ann"), "--customer", customer["id"])
    assert made["roles"] == ["customer"]
    root.ask("device", "add", device)
    key = root.ask("device", "secret", device)["secretKey"]
    ann = Commands(shared_world.port, Account(made["principal"], made["password"]), tmp_path)
    assert ann.run("claim", device, "--key-file", "-", typed=key + "\n").out == f"Claimed {device}.\n"


def test_u8_a_refusal_names_what_is_missing(root: Commands, shared_world: World, tmp_path: Path) -> None:
    """On the user's screen and in `why`; with the role given, the same claim succeeds."""
    customer, device, name = root.ask("customer", "add", fresh("Smith")), fresh("lamp"), fresh("ann")
    one_line(root.quick("user", "add", name, "--no-roles", "--role", "viewer"), 2, "--no-roles")
    made = root.ask("user", "add", name, "--customer", customer["id"], "--no-roles")
    assert made["roles"] == []
    root.ask("device", "add", device)
    key = root.ask("device", "secret", device)["secretKey"]
    ann = Commands(shared_world.port, Account(made["principal"], made["password"]), tmp_path)
    refused = ann.run("claim", device, "--key-file", "-", typed=key + "\n")
    one_line(refused, 5, "DEVICE:CLAIM_DEVICES", "role customer", "not_permitted")
    why = " ".join(root.run("why", device).out.split())
    assert f"by {name}, failed: the user lacks a permission, DEVICE:CLAIM_DEVICES" in why
    root.ask("user", "change", name, "--role", "customer")
    assert ann.run("claim", device, "--key-file", "-", typed=key + "\n").code == 0
