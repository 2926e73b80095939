"""Device requests as operators and devices see them by REST: docs/original-systems.md#device-requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claimsvc.founding import Account
from tests.acceptance.conftest import Arrive
from tests.support.clients import Client, LoginRefusedError, fresh
from tests.support.newcomers import CREDENTIALS, REQUESTS, Newcomer, Operator, Registered
from tests.support.processes import World

PENDING = "PENDING_ACCEPTANCE"
NOT_YET = "Credentials for device id {} are not available. Device is in state PENDING_ACCEPTANCE, (not ACCEPTED))."
NO_MATCH = "Provided security key does not match key stored for device {}."
NOW_BLOCKED = (
    "Reached maximum number of failed attempts while trying to register this device. "
    "Request will now be blocked and has to be removed manually to restart the process."
)


@pytest.fixture
def bootstrap(arrive: Arrive) -> Newcomer:
    """A careful device: its client id is a random return address."""
    return arrive(fresh("address"))


@pytest.fixture
def empty(gate: World) -> Iterator[Operator]:
    """The admin of a tenant that was just made."""
    tenant = fresh("tenant")
    with Operator(gate.port, gate.accounts["manager"]) as manager:
        assert manager.call("POST", "/claimsvc/tenants", {"id": tenant, "title": tenant}).status == 201
        account = manager.make_user("root", roles=["admin"], tenantId=tenant)
    with Operator(gate.port, account) as client:
        yield client


def test_a_request_is_created_and_read(operator: Operator) -> None:
    """Once; what is not there is not found."""
    name = fresh("device")
    made = operator.announce(name)
    assert (made.status, made.body["id"], made.body["status"]) == (201, name, "WAITING_FOR_CONNECTION")
    assert (made.body["self"], made.body["owner"], made.body["tenantId"]) == (
        f"{REQUESTS}/{name}",
        "admin",
        "default",
    )
    again = operator.announce(name)
    assert (again.status, again.body["error"]) == (422, "devicecontrol/Non Unique Result")
    assert again.body["message"] == f"NewDeviceRequest for id = {name} already exists."
    assert operator.look(name).body == made.body
    missing = operator.look(fresh("nope"))
    assert (missing.status, missing.body["error"]) == (404, "devicecontrol/Not Found")


def test_requests_are_listed_by_page(empty: Operator) -> None:
    """Five to a page unless told otherwise, oldest first, each page leading to its neighbours."""
    names = [fresh(f"device-{number:02}") for number in range(12)]
    for name in names:
        assert empty.announce(name).status == 201
    first = empty.call("GET", REQUESTS).body
    assert first["statistics"] == {"currentPage": 1, "pageSize": 5}
    assert {each["status"] for each in first["newDeviceRequests"]} == {"WAITING_FOR_CONNECTION"}
    seen, path = [], f"{REQUESTS}?pageSize=5&currentPage=1&withTotalPages=true"
    while path:
        page = empty.call("GET", path).body
        assert page["statistics"]["totalPages"] == 3
        seen += [each["id"] for each in page["newDeviceRequests"]]
        last, path = page, page.get("next")
    assert seen == names
    assert (last["statistics"]["currentPage"], len(last["newDeviceRequests"])) == (3, 2)
    assert "prev" in last
    assert empty.call("GET", f"{REQUESTS}?status={PENDING}").body["newDeviceRequests"] == []


def test_a_device_is_registered(gate: World, operator: Operator, bootstrap: Newcomer) -> None:
    """Asked for, accepted, given, given again; its login outlives the request."""
    name = fresh("device")
    operator.announce(name)
    early = operator.accept(name)
    assert early.status == 422
    state = "is in state WAITING_FOR_CONNECTION, not PENDING_ACCEPTANCE."
    assert early.body["message"] == f"NewDeviceRequest for device id {name} {state}"
    assert operator.status(name) == "WAITING_FOR_CONNECTION"
    polled = bootstrap.poll(name)
    assert (polled.status, polled.body["message"]) == (404, NOT_YET.format(name))
    assert operator.status(name) == PENDING
    accepted = operator.accept(name)
    assert (accepted.status, accepted.body["status"]) == (200, "ACCEPTED")
    given = bootstrap.poll(name)
    assert given.status == 201
    assert set(given.body) == {"id", "self", "tenantId", "username", "password"}
    assert (given.body["tenantId"], given.body["username"]) == ("default", f"device_{name}")
    assert given.body["password"].isalnum()
    assert bootstrap.poll(name) == given
    assert operator.accept(name).status == 200
    assert bootstrap.poll(name) == given
    assert operator.forget(name).status == 200
    assert operator.look(name).status == bootstrap.poll(name).status == 404
    with Registered(gate, ["70", "default", given.body["username"], given.body["password"]]) as device:
        assert device.open_window({})["status"] == "SUCCESS"


def test_an_acceptance_that_is_repeated_gets_the_first_answer(operator: Operator, bootstrap: Newcomer) -> None:
    """The same request id does nothing twice; the device keeps its password."""
    name = fresh("device")
    operator.announce(name)
    bootstrap.poll(name)
    path, body = f"{REQUESTS}/{name}", {"status": "ACCEPTED"}
    first = operator.call("PUT", path, body, request_id=f"once-{name}")
    given = bootstrap.poll(name)
    assert operator.call("PUT", path, body, request_id=f"once-{name}") == first
    assert bootstrap.poll(name) == given
    assert operator.events(name).count("request_accepted") == 1


@pytest.mark.parametrize(("case", "device_id"), [("n12", "never-registered"), ("n13", "")])
def test_polls_for_nothing(case: str, device_id: str, bootstrap: Newcomer) -> None:
    """The text names the id, also an empty one."""
    answer = bootstrap.poll(device_id)
    message = f"There is no newDeviceRequest for device id {device_id}."
    assert (answer.status, answer.body["error"], answer.body["message"]) == (404, "devicecontrol/Not Found", message)


def test_a_wrong_password_is_refused_by_the_broker(gate: World) -> None:
    """There is no answer to be had without a login."""
    with pytest.raises(LoginRefusedError):
        Client(gate.port, Account("bootstrap", "wrong"), client_id="1234")


def test_access_is_denied(gate: World, operator: Operator) -> None:
    """A viewer makes nothing; nobody with a login of its own asks for a device's."""
    name = fresh("device")
    operator.announce(name)
    with Operator(gate.port, operator.make_user(fresh("viewer"), roles=["viewer"])) as viewer:
        for answer in (viewer.announce(fresh("device")), viewer.accept(name), viewer.forget(name)):
            assert (answer.status, answer.body["error"]) == (403, "security/Forbidden")
            assert answer.body["message"] == "Access is denied"
        assert viewer.look(name).status == 200
    assert operator.call("POST", CREDENTIALS, {"id": name}).status == 403
    assert operator.status(name) == "WAITING_FOR_CONNECTION"


def test_the_bootstrap_login_may_ask_for_nothing_else(operator: Operator, bootstrap: Newcomer) -> None:
    """Neither in its lane nor in a user's, and it has no user's lane of its own."""
    name = fresh("device")
    for lane in (bootstrap.lane(""), "claimsvc/u/bootstrap/", "claimsvc/u/admin/"):
        bootstrap.subscribe(f"{lane}response/1")
        bootstrap.attempts(f"{lane}request/1/POST{REQUESTS}", b'{"id":"%s"}' % name.encode())
        bootstrap.attempts(f"{lane}request/1/GET{REQUESTS}")
    assert operator.look(name).status == 404  # asked behind the attempts
    assert bootstrap.topics_heard() == set()


@pytest.mark.parametrize(
    "stem",
    [
        "loriot-agent-output",
        "a",
        "with.dot",
        "with_underscore",
        "MixedCase123",
        "with@at",
        "with#hash",
        "with%23",
        "ä",
    ],
)
def test_a_device_with_any_valid_id_gets_in(stem: str, gate: World, operator: Operator, arrive: Arrive) -> None:
    """On s/ucr by its client id, to a login and a lane in which it is claimed."""
    name = fresh(stem)
    assert operator.announce(name).status == 201
    newcomer = arrive(name)
    newcomer.listen()
    newcomer.ask()
    assert operator.accept(name).status == 200
    cells = newcomer.credentials()
    newcomer.close()
    with (
        Registered(gate, cells, client_id=newcomer.level) as device,
        Client(gate.port, gate.accounts["customer"]) as customer,
    ):
        assert device.open_window({"secretKey": "value"})["status"] == "SUCCESS"
        answer = customer.claim(newcomer.level)  # the name in the path is encoded alike
        assert (answer.status, answer.body["device"]["name"]) == (200, name)


@pytest.mark.parametrize(
    ("device_id", "character"),
    [
        (" ", " "),
        ("with/slash", "/"),
        ("with+plus", "+"),
        ("with:colon", ":"),
        ("..", ".."),
        ("with\\", "\\"),
        ("\x85", "\x85"),
    ],
    ids=ascii,
)
def test_invalid_ids_are_refused(device_id: str, character: str, operator: Operator) -> None:
    """With the character that is not permitted."""
    answer = operator.announce(device_id)
    message = f"Device id '{device_id}' contains '{character}' character which is not permitted."
    assert (answer.status, answer.body["message"]) == (422, message)


def test_the_longest_id(gate: World, operator: Operator, bootstrap: Newcomer) -> None:
    """1000 characters get in, 1001 do not."""
    name = fresh("x").ljust(1000, "x")
    assert operator.announce(name + "x").status == 422
    assert operator.announce(name).status == 201
    bootstrap.poll(name)
    assert operator.accept(name).status == 200
    given = bootstrap.poll(name).body
    with Registered(gate, ["70", given["tenantId"], given["username"], given["password"]]) as device:
        assert device.open_window({})["status"] == "SUCCESS"


def test_a_device_that_polls_while_it_is_accepted(operator: Operator, bootstrap: Newcomer) -> None:
    """Some polls in vain, some after: the answers turn once."""
    name = fresh("device")
    operator.announce(name)
    statuses = [bootstrap.poll(name).status for _ in range(3)]
    operator.accept(name)
    statuses += [bootstrap.poll(name).status for _ in range(2)]
    assert statuses == [404, 404, 404, 201, 201]


def test_all_that_wait_are_accepted(empty: Operator, bootstrap: Newcomer) -> None:
    """But those that need their token; what has not connected is not spoken of."""
    pending, waiting, careful = fresh("pending"), fresh("waiting"), fresh("careful")
    for name in (pending, waiting, careful):
        empty.announce(name)
    bootstrap.poll(pending)
    bootstrap.poll(careful, securityToken="abc12345")
    answer = empty.call("POST", f"{REQUESTS}/acceptAll")
    assert answer.status == 200
    assert answer.body == [
        {"id": pending, "successful": True},
        {"id": careful, "successful": False, "error": NO_MATCH.format(careful)},
    ]
    assert bootstrap.poll(pending).status == 201


def test_a_device_of_another_tenant_gets_in(gate: World, empty: Operator, bootstrap: Newcomer) -> None:
    """With the username it is told, in a lane that names its tenant."""
    name = fresh("device")
    empty.announce(name)
    bootstrap.poll(name)
    empty.accept(name)
    given = bootstrap.poll(name).body
    with Registered(gate, ["70", given["tenantId"], given["username"], given["password"]]) as device:
        assert device.username == f"{given['tenantId']}%2Fdevice_{name}"
        assert device.open_window({})["status"] == "SUCCESS"


def test_the_security_token(operator: Operator, bootstrap: Newcomer) -> None:
    """Needed, counted, blocked; afresh the right one lets in."""
    name = fresh("device")
    for final in (False, True):
        operator.announce(name)
        bootstrap.poll(name, securityToken="abc12345")
        if final:
            break
        assert operator.accept(name).status == 422
        assert operator.status(name) == PENDING
        messages = [operator.accept(name, securityToken="wrong").body["message"] for _ in range(5)]
        assert messages == [NO_MATCH.format(name)] * 4 + [NO_MATCH.format(name) + NOW_BLOCKED]
        refused = operator.accept(name, securityToken="abc12345")
        state = "is in state BLOCKED, not PENDING_ACCEPTANCE."
        assert (refused.status, refused.body["message"]) == (422, f"NewDeviceRequest for device id {name} {state}")
        operator.forget(name)
    assert operator.accept(name, securityToken="abc12345").body["status"] == "ACCEPTED"
    assert bootstrap.poll(name, securityToken="abc12345").status == 201


def test_a_one_time_password_lets_a_device_in(gate: World, operator: Operator, bootstrap: Newcomer) -> None:
    """Without anybody's acceptance; a wrong one hears what a pending device hears."""
    name = fresh("device")
    assert operator.announce(name, enrollmentToken="one-time").body["status"] == "ACCEPTED"
    for body in ({}, {"securityToken": "guess"}):
        assert bootstrap.poll(name, **body).body["message"] == NOT_YET.format(name)
    given = bootstrap.poll(name, securityToken="one-time")
    assert given.status == 201
    assert bootstrap.poll(name, securityToken="one-time") == given
    with Registered(gate, ["70", "default", given.body["username"], given.body["password"]]) as device:
        assert device.open_window({})["status"] == "SUCCESS"
    assert {"enrollment_failed", "request_accepted"} <= set(operator.events(name))


def test_the_token_lets_the_device_in_from_elsewhere(operator: Operator, arrive: Arrive) -> None:
    """A new return address, the same token."""
    name = fresh("device")
    operator.announce(name)
    arrive(fresh("address")).poll(name, securityToken="abc12345")
    operator.accept(name, securityToken="abc12345")
    assert arrive(fresh("address")).poll(name, securityToken="abc12345").status == 201
    assert "contested" not in operator.look(name).body
