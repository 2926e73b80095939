"""ThingsBoard's own claim test (docs/original-systems.md#claim-test-flow), and server-side keys."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import paho.mqtt.client as paho
import pytest

from claimsvc.founding import Account
from tests.conftest import Connect, Visit
from tests.support.clients import CLAIM, V5, V311, Admin, fresh

KEYED: tuple[Any, Any, Any] = (
    {"secretKey": "value", "durationMs": 1},
    {"secretKey": "value", "durationMs": 60000},
    "value",
)
BARE: tuple[Any, Any, Any] = ({"durationMs": 1}, {}, None)
EMPTY: tuple[Any, Any, Any] = ({"durationMs": "1"}, None, "")
DAY_MS = 86_400_000


def wait_past(epoch_ms: int) -> None:
    """Wait until this whole millisecond is over, in which a window is still open; time is what is tested."""
    while (left := (epoch_ms + 1) / 1000 - time.time()) > 0:
        threading.Event().wait(left)


@dataclass(frozen=True)
class Flow:
    """One way to run ThingsBoard's own claim test."""

    bodies: tuple[Any, Any, Any]
    topic: str = CLAIM
    version: Any = V5
    qos: int = 1


FLOWS = {
    "with key and duration, MQTT 5": Flow(KEYED),
    "with key and duration, MQTT 3.1.1": Flow(KEYED, version=V311),
    "with key and duration, MQTT 3.1": Flow(KEYED, version=paho.MQTTv31),
    "without key and duration": Flow(BARE),
    "without key and duration, MQTT 3.1.1": Flow(BARE, version=V311),
    "with no payload at all": Flow(EMPTY),
    "on the short topic": Flow(KEYED, topic="v2/c"),
    "on the short topic without key": Flow(BARE, topic="v2/c"),
    "on the short JSON topic": Flow(KEYED, topic="v2/c/j"),
    "on the short JSON topic without key": Flow(BARE, topic="v2/c/j"),
    "at QoS 0": Flow(KEYED, qos=0),
    "at QoS 0, MQTT 3.1.1": Flow(KEYED, qos=0, version=V311),
    "at QoS 2": Flow(KEYED, qos=2),
    "at QoS 2, MQTT 3.1.1": Flow(KEYED, qos=2, version=V311),
}


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS.keys())
def test_a_device_is_claimed(flow: Flow, admin: Admin, connect: Connect, visit: Visit) -> None:
    """A window that is over fails, an open one succeeds, a second claim finds the device taken."""
    name = fresh("device")
    device, customer = visit(admin.make_device(name), version=flow.version), connect("customer")
    over, good, key = flow.bodies

    opened = device.open_window(over, topic=flow.topic, qos=flow.qos)
    assert opened["status"] == "SUCCESS"
    wait_past(opened["expirationTime"])
    failed = customer.claim(name, key)
    assert (failed.status, failed.body) == (400, "FAILURE")

    opened = device.open_window(good, topic=flow.topic, qos=flow.qos)
    assert (set(opened), opened["status"]) == ({"status", "expirationTime"}, "SUCCESS")
    claimed = customer.claim(name, key)
    assert (claimed.status, claimed.body["response"]) == (200, "SUCCESS")
    assert claimed.body["device"]["name"] == name
    assert claimed.body["device"]["customerId"]["id"] == admin.customer_of(customer.username)

    again = customer.claim(name, key)
    assert (again.status, again.body) == (400, "CLAIMED")
    assert device.open_window(good)["error"] == "already_claimed"


GATEWAY_FLOWS = {
    "with key and duration": KEYED,
    "without key and duration": ({"durationMs": 1}, {}, None),
}


@pytest.mark.parametrize("bodies", GATEWAY_FLOWS.values(), ids=GATEWAY_FLOWS.keys())
@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
def test_a_device_behind_a_gateway_is_claimed(
    bodies: tuple[Any, Any, Any], version: Any, admin: Admin, connect: Connect
) -> None:
    """The gateway's first message creates the device, which is then claimed as in ThingsBoard's test."""
    name = fresh("behind")
    gateway, customer = connect("gateway", version=version), connect("customer")
    over, good, key = bodies
    wait_past(gateway.open_windows({name: over})[name]["expirationTime"])
    assert admin.device_id(name)
    assert customer.claim(name, key).body == "FAILURE"
    assert gateway.open_windows({name: good})[name]["status"] == "SUCCESS"
    assert customer.claim(name, key).body["response"] == "SUCCESS"
    assert customer.claim(name, key).body == "CLAIMED"


def test_a_gateway_hears_of_each_device_by_itself(admin: Admin, connect: Connect) -> None:
    """A bad entry is answered on its own and hides or stops none of the good ones."""
    gateway, customer = connect("gateway"), connect("customer")
    first, last = fresh("first"), fresh("last")
    answers = gateway.open_windows(
        {
            first: {"secretKey": "one", "durationMs": 60000},
            "no object": 17,
            "bad duration": {"durationMs": "soon"},
            "bad key": {"secretKey": ["value"]},
            "": {},
            "device": {},  # the demo's device, which no gateway speaks for
            last: {"secretKey": "two"},
        }
    )
    errors = {name: answer.get("error", answer["status"]) for name, answer in answers.items()}
    assert errors == {
        first: "SUCCESS",
        "no object": "malformed",
        "bad duration": "malformed",
        "bad key": "malformed",
        "": "invalid_name",
        "device": "not_permitted",
        last: "SUCCESS",
    }
    assert "durationMs" in answers["bad duration"]["message"]
    assert "secretKey" in answers["bad key"]["message"]
    assert customer.claim(first, "one").body["response"] == "SUCCESS"
    assert customer.claim(last, "two").body["response"] == "SUCCESS"


NOT_FOR_GATEWAYS = {
    "a list": (b"[]", "malformed"),
    "a text": (b'"Device A"', "malformed"),
    "no JSON": (b"{", "malformed"),
    "an empty object": (b"{}", "malformed"),
    "nothing": (b"", "malformed"),
    "more than the limit": (b"{" + b" " * 1_048_576 + b"}", "too_large"),
}


@pytest.mark.parametrize(("payload", "error"), NOT_FOR_GATEWAYS.values(), ids=NOT_FOR_GATEWAYS.keys())
def test_a_gateway_message_that_names_no_device_is_one_failure(payload: bytes, error: str, connect: Connect) -> None:
    """What is no object with devices gets a single failure object."""
    answer = connect("gateway").open_windows(payload)
    assert (answer["status"], answer["error"]) == ("FAILURE", error)


def test_a_gateway_made_by_an_admin_speaks_for_devices_bound_to_it(
    admin: Admin, connect: Connect, visit: Visit
) -> None:
    """The password in the answer logs in; a bound device is spoken for, an unbound one is not."""
    bound, other = fresh("bound"), fresh("other")
    admin.make_device(bound)
    admin.make_device(other)
    name = fresh("gateway")
    gateway = visit(admin.make_gateway(name))
    refused = gateway.open_windows({bound: {}, other: {}})
    assert [entry["error"] for entry in refused.values()] == ["not_permitted", "not_permitted"]
    answer = admin.call("PUT", f"/claimsvc/gateways/{name}/devices", [bound])
    assert (answer.status, answer.body) == (200, {"name": name, "devices": [bound]})
    answers = gateway.open_windows({bound: {}, other: {}})
    assert [entry["status"] for entry in answers.values()] == ["SUCCESS", "FAILURE"]
    assert connect("customer").claim(bound, "").body["response"] == "SUCCESS"


def test_a_device_that_is_no_gateway_opens_no_other_windows(admin: Admin, connect: Connect) -> None:
    """Only a principal marked as gateway may use the gateway topic."""
    name = fresh("named")
    assert connect("device").open_windows({name: {}})["error"] == "not_a_gateway"
    assert admin.call("GET", f"/api/tenant/devices?deviceName={name}").status == 404


def test_claiming_data_opens_a_window_from_the_server_side(admin: Admin, connect: Connect) -> None:
    """The attribute is a window of its own; its key is never given back, and a claim ends it."""
    name, customer = fresh("boxed"), connect("customer")
    admin.make_device(name)
    until = int(time.time() * 1000) + 60_000
    written = admin.set_attributes(name, {"claimingData": {"secretKey": "on the box", "expirationTime": until}})
    assert written.status == 200
    path = f"/api/plugins/telemetry/DEVICE/{admin.device_id(name)}/values/attributes/SERVER_SCOPE"
    (shown,) = admin.call("GET", path).body
    assert (shown["key"], shown["value"]) == ("claimingData", {"expirationTime": until})
    assert customer.claim(name, "wrong").body == "FAILURE"
    assert customer.claim(name, "on the box").body["response"] == "SUCCESS"
    assert admin.call("GET", path).body == []


def test_either_window_of_a_device_claims_it(admin: Admin, connect: Connect, visit: Visit) -> None:
    """A key matches any window that is open, the device's own or the server's."""
    name, customer = fresh("twice"), connect("customer")
    device = visit(admin.make_device(name))
    until = int(time.time() * 1000) + 60_000
    for key in ("of the device", "of the server"):
        device.open_window({"secretKey": "of the device"})
        data = {"claimingData": {"secretKey": "of the server", "expirationTime": until}}
        admin.set_attributes(name, data)
        assert customer.claim(name, key).body["response"] == "SUCCESS"
        assert customer.claim(name, key).body == "CLAIMED"
        customer.release(name)


def test_a_window_ends_when_the_answer_says(admin: Admin, connect: Connect) -> None:
    """Default and longest duration are a day; what is not positive is the default."""
    device = connect("device")
    for duration in (None, 0, -5, "0", 10**15, "9" * 40):
        before = int(time.time() * 1000)
        answer = device.open_window({"durationMs": duration})
        assert before <= answer["expirationTime"] - DAY_MS <= int(time.time() * 1000), duration


def test_a_device_is_told_of_claim_and_release(admin: Admin, connect: Connect, visit: Visit) -> None:
    """Each change of hands is one message on claim/state."""
    name, customer = fresh("told"), connect("customer")
    device = visit(admin.make_device(name))
    device.open_window({"secretKey": "value"})
    device.subscribe(device.lane(f"{CLAIM}/state"))
    before = int(time.time() * 1000)
    customer.claim(name)
    customer.release(name)
    for state in ("claimed", "released"):
        message = device.receive()
        told = json.loads(message.payload)
        assert (message.topic, message.qos, message.retain) == (device.lane(f"{CLAIM}/state"), 1, False)
        assert told["state"] == state
        assert before <= told["time"] <= int(time.time() * 1000)


def test_a_device_may_have_any_name(admin: Admin, connect: Connect, visit: Visit) -> None:
    """Topic characters in a name are percent-encoded in lane and path, and the name stays what it is."""
    customer = connect("customer")
    for stem in ("a/b", "x+y", "p#q", "50%", "höhe", "two words"):
        name = fresh(stem)
        account: Account = admin.make_device(name)
        assert visit(account).open_window({"secretKey": "k"})["status"] == "SUCCESS"
        assert customer.claim(quote(name, safe=""), "k").body["device"]["name"] == name
