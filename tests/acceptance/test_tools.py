"""Mosquitto's own command-line clients, as the documentation shows them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from claimsvc.founding import Account
from tests.conftest import Connect, Visit
from tests.support.clients import CLAIM, Admin, fresh
from tests.support.processes import PATIENCE_S, World


def run(program: str, world: World, account: Account, *arguments: str) -> str:
    """Run one of Mosquitto's clients as `account` and return what it prints."""
    login = ["-p", str(world.port), "-u", account.username, "-P", str(account.password)]
    done = subprocess.run(
        [program, *login, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["5", "311"])
def test_request_and_response_with_mosquitto_rr(version: str, shared_world: World, admin: Admin) -> None:
    """A window is opened, claimed and released with one line each."""
    name = fresh("device")
    device, customer = admin.make_device(name), shared_world.accounts["customer"]
    lane, own = f"claimsvc/u/{device.username}", f"claimsvc/u/{customer.username}"

    def ask(account: Account, topic: str, answer: str, *message: str) -> Any:
        arguments = ("-V", version, "-t", topic, "-e", answer, *message)
        return json.loads(run("mosquitto_rr", shared_world, account, *arguments))

    window = json.dumps({"secretKey": "value", "durationMs": 60000})
    opened = ask(device, f"{lane}/{CLAIM}", f"{lane}/{CLAIM}/response", "-m", window)
    assert opened["status"] == "SUCCESS"
    path, number = f"api/customer/device/{name}/claim", fresh("id")
    topic = f"{own}/request/{number}/POST/{path}"
    claimed = ask(customer, topic, f"{own}/response/{number}", "-m", '{"secretKey":"value"}')
    assert (claimed["status"], claimed["body"]["response"]) == (200, "SUCCESS")
    number = fresh("id")
    topic = f"{own}/request/{number}/DELETE/{path}"
    assert ask(customer, topic, f"{own}/response/{number}", "-n")["status"] == 200


@pytest.mark.parametrize("version", ["31", "311", "5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_publishing_with_mosquitto_pub(
    version: str, qos: str, shared_world: World, admin: Admin, connect: Connect, visit: Visit
) -> None:
    """What a one-line client publishes is handled like any device's."""
    account = admin.make_device(fresh("device"))
    listener = visit(account)
    listener.subscribe(listener.lane(f"{CLAIM}/response"))
    message = ("-t", listener.lane(CLAIM), "-m", '{"secretKey":"value"}')
    run("mosquitto_pub", shared_world, account, "-V", version, "-q", qos, *message)
    assert json.loads(listener.receive().payload)["status"] == "SUCCESS"
    assert connect("customer").claim(account.username).body["response"] == "SUCCESS"
