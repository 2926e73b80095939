from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from claimsvc.core import registration
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found
from claimsvc.core.model import DeviceRequest, RequestStatus, Row, Tenant, User
from claimsvc.core.policy import MANAGEMENT_TENANT
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import (
    AcceptAll,
    AcceptedAll,
    AcceptRequest,
    CreateRequest,
    CredentialsGiven,
    DeleteRequest,
    DeviceLimit,
    ListRequests,
    OnRequest,
    PollCredentials,
    ReadLimit,
    ReadRequest,
    RequestListing,
    RequestRefused,
)
from tests.support.factories import (
    NOW,
    accept_all,
    accept_request,
    admin,
    create_request,
    credential,
    device,
    events,
    facts,
    given,
    hashed,
    poll,
    refused,
    request,
    result,
    user,
    written,
)
from tests.support.memory import decide

WAITING, PENDING = RequestStatus.WAITING_FOR_CONNECTION, RequestStatus.PENDING_ACCEPTANCE
ACCEPTED, BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED
PRINCIPAL = "device_1234"
REGISTERED: tuple[Row, ...] = (device("1234", principal=PRINCIPAL), credential(PRINCIPAL))
"""What an acceptance has made: a device and its login."""


def status_of(known: Any) -> RequestStatus | None:
    """Return where the request for 1234 stands."""
    row = known.get(DeviceRequest, "1234")
    return row.status if row else None


# --- every command in every state: docs/original-systems.md#request-states

COMMANDS: dict[type[Command], Callable[[], Command]] = {
    CreateRequest: create_request,
    ReadRequest: lambda: ReadRequest("root", "1234"),
    DeleteRequest: lambda: DeleteRequest("root", "1234"),
    AcceptRequest: accept_request,
    AcceptAll: accept_all,
    PollCredentials: poll,
    ListRequests: lambda: ListRequests("root", 1, 5, None, with_total=False),
    ReadLimit: lambda: ReadLimit("root"),
}
EXISTS = Reason.ALREADY_REQUESTED
TABLE: dict[tuple[RequestStatus | None, type[Command]], tuple[object, RequestStatus | None]] = {
    # (before, command): what it comes to, and where the request stands then
    (None, CreateRequest): (Found, WAITING),
    (WAITING, CreateRequest): (EXISTS, WAITING),
    (PENDING, CreateRequest): (EXISTS, PENDING),
    (ACCEPTED, CreateRequest): (EXISTS, ACCEPTED),
    (BLOCKED, CreateRequest): (EXISTS, BLOCKED),
    (None, ReadRequest): (Reason.NO_REQUEST, None),
    (WAITING, ReadRequest): (Found, WAITING),
    (PENDING, ReadRequest): (Found, PENDING),
    (ACCEPTED, ReadRequest): (Found, ACCEPTED),
    (BLOCKED, ReadRequest): (Found, BLOCKED),
    (None, DeleteRequest): (Reason.NO_REQUEST, None),
    (WAITING, DeleteRequest): (Done, None),
    (PENDING, DeleteRequest): (Done, None),
    (ACCEPTED, DeleteRequest): (Done, None),
    (BLOCKED, DeleteRequest): (Done, None),
    (None, AcceptRequest): (Reason.NO_REQUEST, None),
    (WAITING, AcceptRequest): (Reason.NOT_PENDING, WAITING),
    (PENDING, AcceptRequest): (Found, ACCEPTED),
    (ACCEPTED, AcceptRequest): (Found, ACCEPTED),
    (BLOCKED, AcceptRequest): (Reason.NOT_PENDING, BLOCKED),
    (None, AcceptAll): (AcceptedAll, None),
    (WAITING, AcceptAll): (AcceptedAll, WAITING),
    (PENDING, AcceptAll): (AcceptedAll, ACCEPTED),
    (ACCEPTED, AcceptAll): (AcceptedAll, ACCEPTED),
    (BLOCKED, AcceptAll): (AcceptedAll, BLOCKED),
    (None, PollCredentials): (Reason.NO_REQUEST, None),
    (WAITING, PollCredentials): (Reason.NOT_ACCEPTED, PENDING),
    (PENDING, PollCredentials): (Reason.NOT_ACCEPTED, PENDING),
    (ACCEPTED, PollCredentials): (CredentialsGiven, ACCEPTED),
    (BLOCKED, PollCredentials): (Reason.NOT_ACCEPTED, BLOCKED),
    **{
        (status, kind): (outcome, status)
        for status in (None, *RequestStatus)
        for kind, outcome in ((ListRequests, RequestListing), (ReadLimit, DeviceLimit))
    },
}


def in_state(status: RequestStatus | None) -> list[Row]:
    """Return the rows of a request in this state; that of none is no row."""
    if status is None:
        return []
    return [request(status), *(REGISTERED if status is ACCEPTED else ())]


@pytest.mark.parametrize(("before", "kind"), TABLE, ids=lambda each: getattr(each, "__name__", str(each)))
def test_every_command_in_every_state(before: RequestStatus | None, kind: type[Command]) -> None:
    """Each comes to one outcome, and moves the request along the arrows of the diagram and no others."""
    known = facts(admin(), *in_state(before))
    decision = decide(COMMANDS[kind](), known, given())
    assert (result(decision), status_of(known)) == TABLE[before, kind]


def test_the_table_is_whole() -> None:
    """No command and no state is forgotten."""
    asked = {
        kind
        for kind in vars(registration).values()
        if isinstance(kind, type) and issubclass(kind, Command) and kind not in {Command, OnRequest}
    }
    assert set(COMMANDS) == asked
    assert set(TABLE) == set(product([None, *RequestStatus], COMMANDS))


@pytest.mark.parametrize("status", [None, PENDING, ACCEPTED, BLOCKED])
def test_a_poll_changes_nothing(status: RequestStatus | None) -> None:
    """Whatever the state, but for the first one: nothing is written, for days at 1 Hz."""
    decision = decide(poll(), facts(*in_state(status)), given())
    assert (decision.changes, decision.notices, decision.ended) == ((), (), ())


def test_the_first_poll_is_kept() -> None:
    """The lane and the token of the poll are kept; it is answered like one of a waiting device."""
    known = facts(request(WAITING))
    decision = decide(poll("abc12345"), known, given())
    assert written(decision.changes, DeviceRequest) == [request(token_hash=hashed("abc12345"))]
    assert events(decision.changes) == ["request_pending"]
    outcome = decision.outcome
    assert isinstance(outcome, RequestRefused)
    assert (outcome.device_id, outcome.status) == ("1234", PENDING)


@pytest.mark.parametrize("text", ["other", None], ids=["another token", "no token any more"])
def test_the_first_token_stays(text: str | None) -> None:
    """What comes later from the same place changes nothing."""
    known = facts(request(token_hash=hashed("abc12345")))
    assert decide(poll(text), known, given()).changes == ()


def test_a_batch_registers_a_device() -> None:
    """Create, poll, accept and poll again, one after the other on the same facts."""
    known, now = facts(admin()), given()
    outcomes = [
        result(decide(command, known, now)) for command in (create_request(), poll(), accept_request(), poll())
    ]
    assert outcomes == [Found, Reason.NOT_ACCEPTED, Found, CredentialsGiven]


# --- making requests


def test_a_request_as_it_was_asked_for() -> None:
    """All that came with it is kept, with maker and time; a blank one has nothing more."""
    known = facts(admin())
    full = create_request(group_id="5", type="c8y_Sensor", properties='{"a":1}')
    decision = decide(full, known, given())
    expected = request(WAITING, group_id="5", type="c8y_Sensor", properties='{"a":1}')
    assert decision.outcome == Found(expected, created=True)
    assert written(decision.changes, DeviceRequest) == [expected]
    assert events(decision.changes) == ["request_created"]


VALID = [
    "loriot-agent-output",
    "a",
    "with.dot",
    "with_underscore",
    "with-dash",
    "MixedCase123",
    "with@at",
    "with#hash",
    "with%percent",
    "with,comma",
    "Gerät",
    "x" * 1000,
]
INVALID: dict[str, str] = {
    "": "",
    " ": " ",
    "with space": " ",
    "with\ttab": "\t",
    "with/slash": "/",
    "with+plus": "+",
    "with$dollar": "$",
    "with:colon": ":",
    ".": ".",
    "..": "..",
    "with\\backslash": "\\",
    "with\x00": "\x00",
    "with\x1f": "\x1f",
    "with\x7f": "\x7f",
    "with\x85": "\x85",
    "with\x9f": "\x9f",
    "with\u2003": "\u2003",
    "with\u200bnothing": "\u200b",
    "with\xad": "\xad",
    "with\ue000": "\ue000",
    "with\ufffe": "\ufffe",
    "x" * 1001: "",
}


@pytest.mark.parametrize("device_id", VALID)
def test_device_ids_that_can_be_used(device_id: str) -> None:
    """The ids of Cumulocity's own tests, and others that its pattern allows."""
    assert result(decide(create_request(device_id), facts(admin()), given())) is Found


@pytest.mark.parametrize("device_id", INVALID, ids=ascii)
def test_device_ids_that_cannot_be_used(device_id: str) -> None:
    """The refusal names the character; an empty or too long id has none."""
    assert INVALID[device_id] == refused(Reason.INVALID_DEVICE_ID, facts(admin()), create_request(device_id)).detail


ACME = Tenant("acme", "acme", NOW)
MANAGER = admin("manager", tenant=MANAGEMENT_TENANT)


@pytest.mark.parametrize(
    ("caller", "fields", "expected"),
    [
        pytest.param(MANAGER, {"tenant": "acme"}, Found, id="the management tenant for another"),
        pytest.param(MANAGER, {"tenant": "nowhere"}, Reason.NOT_FOUND, id="for a tenant there is not"),
        pytest.param(MANAGER, {"tenant": "acme", "group_id": "5"}, Reason.INVALID_VALUE, id="a tenant and a group"),
        pytest.param(MANAGER, {"group_id": "5"}, Found, id="a group of its own"),
        pytest.param(MANAGER, {"tenant": MANAGEMENT_TENANT, "group_id": "5"}, Found, id="its own by name"),
        pytest.param(admin("manager"), {"tenant": "acme"}, Reason.NOT_PERMITTED, id="an ordinary one for another"),
        pytest.param(admin("manager"), {"tenant": "default"}, Found, id="an ordinary one for itself"),
    ],
)
def test_who_registers_for_whom(caller: User, fields: dict[str, Any], expected: object) -> None:
    """The management tenant registers into a tenant or into a group, never both."""
    known = facts(ACME, caller)
    decision = decide(create_request(by="manager", **fields), known, given())
    assert result(decision) == expected
    if expected is Found:
        assert written(decision.changes, DeviceRequest)[0].tenant == fields.get("tenant", caller.tenant)


@pytest.mark.parametrize("kind", [ReadRequest, DeleteRequest])
@pytest.mark.parametrize(
    ("tenant", "sees"), [("default", True), ("acme", False), (MANAGEMENT_TENANT, True)], ids=["its own", "no", "all"]
)
def test_a_tenant_sees_its_own_requests(kind: type[OnRequest], tenant: str, *, sees: bool) -> None:
    """Another's is as one that is not there; the management tenant sees all."""
    known = facts(ACME, admin(tenant=tenant), request())
    assert (result(decide(kind("root", "1234"), known, given())) is not Reason.NO_REQUEST) == sees


def test_another_tenants_request_is_not_accepted() -> None:
    """Neither singly nor with all."""
    known = facts(ACME, admin(tenant="acme"), request())
    refused(Reason.NO_REQUEST, known, accept_request())
    assert decide(accept_all(), known, given()).outcome == AcceptedAll(())


def test_ids_are_unique_over_all_tenants() -> None:
    """A poll names no tenant, so there can be one request for an id."""
    refused(Reason.ALREADY_REQUESTED, facts(ACME, admin(tenant="acme"), request()), create_request())


OPERATOR, VIEWER = user("root", roles=("operator",)), user("root", roles=("viewer",))
NOBODY_HERE: list[Row] = [user("root"), user("root", roles=()), user("root", roles=("bootstrap",)), device("root")]
READING = {ReadRequest, ListRequests, ReadLimit}


@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind is not PollCredentials])
def test_who_may_ask_what(kind: type[Command]) -> None:
    """ROLE_DEVICE_CONTROL_ADMIN allows everything, _READ what changes nothing, other roles nothing."""

    def answer(caller: Row) -> object:
        return result(decide(COMMANDS[kind](), facts(caller, request()), given()))

    assert answer(OPERATOR) is not Reason.NOT_PERMITTED
    assert (answer(VIEWER) is not Reason.NOT_PERMITTED) == (kind in READING)
    assert {answer(caller) for caller in NOBODY_HERE} == {Reason.NOT_PERMITTED}


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        pytest.param(user("root", roles=("bootstrap",)), Reason.NOT_ACCEPTED, id="with ROLE_DEVICE_BOOTSTRAP"),
        pytest.param(admin(), Reason.NOT_PERMITTED, id="an admin"),
        pytest.param(device("root"), Reason.NOT_PERMITTED, id="a device"),
    ],
)
def test_who_asks_for_credentials_by_a_login_of_its_own(caller: Row, expected: object) -> None:
    """It needs the bootstrap role; a client id's lane is nobody's and may."""
    assert result(decide(poll(by="root", lane="u/root/"), facts(caller, request(WAITING)), given())) == expected
