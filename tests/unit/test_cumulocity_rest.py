from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Outcome, Refused
from claimsvc.core.model import DeviceRequest, RequestStatus
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
    PollCredentials,
    ReadLimit,
    ReadRequest,
    RequestListing,
    RequestPage,
    RequestRefused,
)
from claimsvc.dialects.cumulocity.error_words import INFO
from claimsvc.dialects.message import Inbound, Request
from claimsvc.settings import Settings
from tests.support.factories import NOW, password, request

DIALECTS = lanes_of(Settings())
REQUESTS, CREDENTIALS = "devicecontrol/newDeviceRequests", "devicecontrol/deviceCredentials"
CREATED = "2023-11-14T22:13:20.000Z"


def ask(method: str, path: str, body: object = None, *, lane: str = "u/root") -> Request:
    """Return what a call comes to."""
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    found = DIALECTS.read(Inbound(f"claimsvc/{lane}/request/1/{method}/{path}", payload, 1, 1, 1, 0.0))
    assert found is not None
    return found


def command(method: str, path: str, body: object = None, *, lane: str = "u/root") -> Command:
    """Return the command of a call that must be one."""
    found = ask(method, path, body, lane=lane)
    assert isinstance(found.asked, Command), found.asked
    return found.command


def answer(outcome: Outcome, method: str = "GET", path: str = f"{REQUESTS}/1234", body: object = None) -> Any:
    """Return status and body of the answer to a call."""
    (outbound,) = ask(method, path, body).answer(outcome, NOW)
    found = json.loads(outbound.payload)
    return found["status"], found["body"]


def text(secret: Any) -> str | None:
    """Return what a secret was made of."""
    return secret.text if secret else None


# --- from bytes to commands

ONE = f"{REQUESTS}/with%23hash"
CALLS: dict[str, tuple[tuple[str, str, object], type[Command]]] = {
    "create": (("POST", REQUESTS, {"id": "with#hash"}), CreateRequest),
    "list": (("GET", REQUESTS, None), ListRequests),
    "read": (("GET", ONE, None), ReadRequest),
    "update": (("PUT", ONE, {"status": "ACCEPTED"}), AcceptRequest),
    "delete": (("DELETE", ONE, None), DeleteRequest),
    "accept all": (("POST", f"{REQUESTS}/acceptAll", None), AcceptAll),
    "limit": (("GET", f"{REQUESTS}/limit", None), ReadLimit),
    "poll": (("POST", CREDENTIALS, {"id": "with#hash"}), PollCredentials),
}


@pytest.mark.parametrize(("call", "kind"), CALLS.values(), ids=CALLS.keys())
def test_calls_are_commands(call: tuple[str, str, object], kind: type[Command]) -> None:
    """Of the caller whose lane it is, about the device whose id is decoded."""
    found = command(*call)
    assert type(found) is kind
    assert found.caller == "root"
    assert found.device in {None, "with#hash"}


def test_a_request_with_everything() -> None:
    """Each member comes where it belongs; a member nobody knows means nothing."""
    body = {
        "id": "1234",
        "tenantId": "acme",
        "groupId": "5",
        "type": "c8y_Sensor",
        "customProperties": {"ä": [1, None]},
        "enrollmentToken": "x" * 32,
        "status": "ACCEPTED",
        "owner": "me",
    }
    found = command("POST", REQUESTS, body)
    assert isinstance(found, CreateRequest)
    assert (found.tenant, found.group_id, found.type) == ("acme", "5", "c8y_Sensor")
    assert (json.loads(found.properties or ""), text(found.enrollment)) == ({"ä": [1, None]}, "x" * 32)


def test_a_request_with_nothing() -> None:
    """Null is absent."""
    absent = dict.fromkeys(["tenantId", "groupId", "type", "customProperties", "enrollmentToken"])
    assert command("POST", REQUESTS, {"id": "1234", **absent}) == command("POST", REQUESTS, {"id": "1234"})
    assert command("POST", REQUESTS, {"id": "1234"}) == CreateRequest("root", "1234", None, None, None, None, None)


def test_tokens_come_with_acceptance_and_poll() -> None:
    """An empty one is none."""
    accept = command("PUT", f"{REQUESTS}/1", {"status": "ACCEPTED", "securityToken": "abc"})
    polled = command("POST", CREDENTIALS, {"id": "1", "securityToken": "abc"}, lane="c/bootstrap/x")
    empty = command("POST", CREDENTIALS, {"id": "1", "securityToken": ""}, lane="c/bootstrap/x")
    assert isinstance(accept, AcceptRequest)
    assert isinstance(polled, PollCredentials)
    assert isinstance(empty, PollCredentials)
    assert (text(accept.token), text(polled.token), empty.token) == ("abc", "abc", None)
    assert (polled.caller, polled.lane) == ("", "c/bootstrap/x/")


LISTS: dict[str, tuple[int, int, RequestStatus | None, bool]] = {
    "": (1, 5, None, False),
    "?currentPage=3&pageSize=10": (3, 10, None, False),
    "?currentPage=0&pageSize=0": (1, 1, None, False),
    "?pageSize=2001": (1, 2000, None, False),
    "?currentPage=99999999999": (2**31, 5, None, False),
    "?withTotalPages=true": (1, 5, None, True),
    "?withTotalElements=TRUE": (1, 5, None, True),
    "?withTotalPages=no": (1, 5, None, False),
    "?status=BLOCKED": (1, 5, RequestStatus.BLOCKED, False),
    "?anything=else": (1, 5, None, False),
}


@pytest.mark.parametrize("query", LISTS)
def test_lists_page_by_number(query: str) -> None:
    """Five at a time, at most 2000; the filter by state is not Cumulocity's."""
    assert command("GET", REQUESTS + query) == ListRequests("root", *LISTS[query][:3], with_total=LISTS[query][3])


WRONG: dict[str, tuple[tuple[str, str, object], Reason]] = {
    "no body": (("POST", REQUESTS, None), Reason.MALFORMED),
    "no JSON": (("POST", REQUESTS, b"{"), Reason.MALFORMED),
    "no object": (("POST", REQUESTS, ["1234"]), Reason.MALFORMED),
    "no id": (("POST", REQUESTS, {}), Reason.MALFORMED),
    "a number as id": (("POST", REQUESTS, {"id": 1234}), Reason.MALFORMED),
    "a list of properties": (("POST", REQUESTS, {"id": "1", "customProperties": []}), Reason.MALFORMED),
    "a long one-time password": (("POST", REQUESTS, {"id": "1", "enrollmentToken": "x" * 33}), Reason.MALFORMED),
    "an empty one-time password": (("POST", REQUESTS, {"id": "1", "enrollmentToken": ""}), Reason.MALFORMED),
    "half a character": (("POST", REQUESTS, b'{"id":"\\ud800"}'), Reason.MALFORMED),
    "an id that is a call": (("POST", REQUESTS, {"id": "acceptAll"}), Reason.INVALID_VALUE),
    "another that is": (("POST", REQUESTS, {"id": "limit"}), Reason.INVALID_VALUE),
    "no status": (("PUT", ONE, {}), Reason.MALFORMED),
    "back to pending": (("PUT", ONE, {"status": "PENDING_ACCEPTANCE"}), Reason.INVALID_VALUE),
    "to blocked": (("PUT", ONE, {"status": "BLOCKED"}), Reason.INVALID_VALUE),
    "an unknown status": (("PUT", ONE, {"status": "accepted"}), Reason.INVALID_VALUE),
    "a number as token": (("PUT", ONE, {"status": "ACCEPTED", "securityToken": 1}), Reason.MALFORMED),
    "a poll without an id": (("POST", CREDENTIALS, {}), Reason.MALFORMED),
    "a page that is no number": (("GET", f"{REQUESTS}?currentPage=x", None), Reason.MALFORMED),
    "a status there is not": (("GET", f"{REQUESTS}?status=OPEN", None), Reason.MALFORMED),
    "an id that is no text": (("GET", f"{REQUESTS}/%ff", None), Reason.MALFORMED),
    "another method": (("PATCH", ONE, None), Reason.METHOD_NOT_ALLOWED),
    "another path": (("GET", f"{ONE}/more", None), Reason.NO_SUCH_CALL),
}


@pytest.mark.parametrize(("call", "reason"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_understood(call: tuple[str, str, object], reason: Reason) -> None:
    """It is refused before any rule is asked, in Cumulocity's shape."""
    found = ask(*call)
    assert isinstance(found.asked, Refused)
    assert found.asked.reason is reason
    (outbound,) = found.answer(found.asked, NOW)
    body = json.loads(outbound.payload)["body"]
    assert (set(body), body["info"], body["code"]) == ({"error", "message", "info", "code"}, INFO, reason)
    assert body["error"].startswith("devicecontrol/")


@pytest.mark.parametrize("path", [REQUESTS, f"{REQUESTS}/limit", "claimsvc/users", CREDENTIALS])
def test_a_client_without_a_login_may_ask_for_credentials_only(path: str) -> None:
    """All else is refused, and not even listened for."""
    for method in ("GET", "POST", "PUT", "DELETE"):
        found = ask(method, path, {"id": "1"}, lane="c/bootstrap/1234")
        assert isinstance(found.asked, Command) == (method == "POST" and path == CREDENTIALS)
    listened = {each for each in DIALECTS.filters if each.startswith("claimsvc/c/")}
    ours = {"claimsvc/c/bootstrap/+/s/ucr", f"claimsvc/c/bootstrap/+/request/+/POST/{CREDENTIALS}"}
    assert listened == {*ours, "claimsvc/c/provision/+//provision/request"}


# --- from outcomes to bytes: exact texts (docs/original-systems.md#error-texts)

NO_MATCH = "Provided security key does not match key stored for device 1234."
TEXTS: dict[str, tuple[RequestRefused, int, str, str]] = {
    "an id twice": (
        RequestRefused(Reason.ALREADY_REQUESTED, device_id="1234"),
        422,
        "devicecontrol/Non Unique Result",
        "NewDeviceRequest for id = 1234 already exists.",
    ),
    "an unknown id": (
        RequestRefused(Reason.NO_REQUEST, device_id="nope"),
        404,
        "devicecontrol/Not Found",
        "There is no newDeviceRequest for device id nope.",
    ),
    "an empty id": (
        RequestRefused(Reason.NO_REQUEST, device_id=""),
        404,
        "devicecontrol/Not Found",
        "There is no newDeviceRequest for device id .",
    ),
    "a poll before acceptance": (
        RequestRefused(Reason.NOT_ACCEPTED, device_id="1234", status=RequestStatus.PENDING_ACCEPTANCE),
        404,
        "devicecontrol/Not Found",
        "Credentials for device id 1234 are not available. Device is in state PENDING_ACCEPTANCE, (not ACCEPTED)).",
    ),
    "an acceptance before the first poll": (
        RequestRefused(Reason.NOT_PENDING, device_id="1234", status=RequestStatus.WAITING_FOR_CONNECTION),
        422,
        "devicecontrol/Invalid State",
        "NewDeviceRequest for device id 1234 is in state WAITING_FOR_CONNECTION, not PENDING_ACCEPTANCE.",
    ),
    "a wrong security token": (
        RequestRefused(Reason.WRONG_TOKEN, device_id="1234"),
        422,
        "devicecontrol/Invalid Security Token",
        NO_MATCH,
    ),
    "the last wrong security token": (
        RequestRefused(Reason.BLOCKED, device_id="1234"),
        422,
        "devicecontrol/Invalid Security Token",
        NO_MATCH
        + "Reached maximum number of failed attempts while trying to register this device. "
        + "Request will now be blocked and has to be removed manually to restart the process.",
    ),
    "a character that is not permitted": (
        RequestRefused(Reason.INVALID_DEVICE_ID, "/", device_id="with/slash"),
        422,
        "devicecontrol/Invalid Device Id",
        "Device id 'with/slash' contains '/' character which is not permitted.",
    ),
    "an id that is too long": (
        RequestRefused(Reason.INVALID_DEVICE_ID, device_id="x"),
        422,
        "devicecontrol/Invalid Device Id",
        "A device id has 1 to 1000 characters.",
    ),
    "the limit": (
        RequestRefused(Reason.DEVICE_LIMIT, device_id="1234"),
        422,
        "devicecontrol/Limit Reached",
        "You have reached devices limit. No more devices can be registered.",
    ),
}


@pytest.mark.parametrize(("outcome", "status", "error", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_exact_texts(outcome: RequestRefused, status: int, error: str, message: str) -> None:
    """As Cumulocity says it, whose clients compare them."""
    expected = {"error": error, "message": message, "info": INFO, "code": outcome.reason}
    assert answer(outcome) == (status, expected)


def test_access_is_denied() -> None:
    """The words are Spring's."""
    status, body = answer(Refused(Reason.NOT_PERMITTED, "it needs the permission X"))
    assert (status, body["error"], body["message"]) == (403, "security/Forbidden", "Access is denied")
    assert body["detail"] == "The caller may not do this: it needs the permission X"


@pytest.mark.parametrize("braces", ["{id}", "{0}", "{", "{detail.__class__}"])
def test_an_id_of_braces_is_an_id(braces: str) -> None:
    """No text of a stranger is a format."""
    _, body = answer(RequestRefused(Reason.INVALID_DEVICE_ID, "{", device_id=braces))
    assert body["message"] == f"Device id '{braces}' contains '{{' character which is not permitted."


SHAPES: dict[str, tuple[DeviceRequest, dict[str, object]]] = {
    "nothing more": (request(RequestStatus.WAITING_FOR_CONNECTION), {"status": "WAITING_FOR_CONNECTION"}),
    "everything": (
        request(group_id="5", type="c8y_Sensor", properties='{"a":[1]}'),
        {"status": "PENDING_ACCEPTANCE", "groupId": "5", "type": "c8y_Sensor", "customProperties": {"a": [1]}},
    ),
    "a token and a one-time password": (
        request(RequestStatus.ACCEPTED, token_hash="t", enrollment_hash="e", enrollment_until_ms=NOW),
        {"status": "ACCEPTED"},
    ),
    "a stranger asked": (request(contested=True), {"status": "PENDING_ACCEPTANCE", "contested": True}),
}


@pytest.mark.parametrize(("row", "more"), SHAPES.values(), ids=SHAPES.keys())
def test_a_request_as_it_is_shown(row: DeviceRequest, more: dict[str, object]) -> None:
    """Members without a value are left out, and no secret is ever there."""
    common = {
        "id": "1234",
        "self": f"/{REQUESTS}/1234",
        "creationTime": CREATED,
        "owner": "root",
        "tenantId": "default",
    }
    assert answer(Found(row)) == (200, common | more)
    assert answer(Found(row, created=True), "POST", REQUESTS, {"id": "1234"}) == (201, common | more)


@pytest.mark.parametrize("device_id", ["with#hash", "with%", "Gerät", "a,b", "{id}", "a?b&c=d"])
def test_self_leads_back(device_id: str) -> None:
    """The path of a request is a call that reads it."""
    _, body = answer(Found(request(id=device_id)))
    assert body["self"] == f"/{REQUESTS}/{quote(device_id, safe='')}"
    assert command("GET", body["self"].lstrip("/")) == ReadRequest("root", device_id)


def test_other_answers() -> None:
    """Deleting, the limit, acceptance of all."""
    wrong = RequestRefused(Reason.WRONG_TOKEN, device_id="b")
    assert answer(Done(), "DELETE") == (200, None)
    assert answer(DeviceLimit(3, 2, is_reached=False)) == (200, {"isReached": False, "limit": 3, "deviceCount": 2})
    assert answer(DeviceLimit(0, 2, is_reached=False)) == (200, {"isReached": False, "deviceCount": 2})
    message = "Provided security key does not match key stored for device b."
    assert answer(AcceptedAll((("a", None), ("b", wrong)))) == (
        200,
        [{"id": "a", "successful": True}, {"id": "b", "successful": False, "error": message}],
    )


def test_credentials_as_they_are_given() -> None:
    """201, which clients wait for. If the service keeps no logins, the answer says where the login must be."""
    row = request(id="with#hash")
    poll = ("POST", CREDENTIALS, {"id": "with#hash"})
    common = {
        "id": "with#hash",
        "self": f"/{CREDENTIALS}/with%23hash",
        "tenantId": "default",
        "username": "device_with#hash",
    }
    given = CredentialsGiven(row, "device_with#hash", None, password("secret"))
    assert answer(given, *poll) == (201, {**common, "password": "secret"})
    kept_elsewhere = CredentialsGiven(row, "device_with#hash", None, None)
    assert answer(kept_elsewhere, *poll) == (
        201,
        {**common, "login": "must exist on the broker: this service keeps no logins"},
    )


PAGES: dict[str, tuple[RequestListing, bool, int | None, dict[str, object]]] = {
    # listing, is it the last, total -> everything but the requests
    "the only one": (
        RequestListing("default", 1, 5, None, with_total=False),
        True,
        None,
        {"self": "currentPage=1&pageSize=5", "statistics": {"currentPage": 1, "pageSize": 5}},
    ),
    "in the middle": (
        RequestListing("default", 2, 5, RequestStatus.BLOCKED, with_total=False),
        False,
        None,
        {
            "self": "currentPage=2&pageSize=5&status=BLOCKED",
            "prev": "currentPage=1&pageSize=5&status=BLOCKED",
            "next": "currentPage=3&pageSize=5&status=BLOCKED",
            "statistics": {"currentPage": 2, "pageSize": 5},
        },
    ),
    "the last, counted": (
        RequestListing("default", 3, 5, None, with_total=True),
        True,
        12,
        {
            "self": "currentPage=3&pageSize=5&withTotalPages=true",
            "prev": "currentPage=2&pageSize=5&withTotalPages=true",
            "statistics": {"currentPage": 3, "pageSize": 5, "totalElements": 12, "totalPages": 3},
        },
    ),
    "empty, counted": (
        RequestListing("default", 1, 5, None, with_total=True),
        True,
        0,
        {
            "self": "currentPage=1&pageSize=5&withTotalPages=true",
            "statistics": {"currentPage": 1, "pageSize": 5, "totalElements": 0, "totalPages": 0},
        },
    ),
}


@pytest.mark.parametrize(("listing", "is_last", "total", "expected"), PAGES.values(), ids=PAGES.keys())
def test_pages(listing: RequestListing, total: int | None, expected: dict[str, Any], *, is_last: bool) -> None:
    """Statistics always, and the paths of the neighbouring pages if there are any."""
    page = RequestPage(listing, (request(),), is_last=is_last, total=total)
    status, body = answer(page, "GET", REQUESTS)
    assert (status, [each["id"] for each in body.pop("newDeviceRequests")]) == (200, ["1234"])
    links = {name: f"/{REQUESTS}?{value}" for name, value in expected.items() if name != "statistics"}
    assert body == {**links, "statistics": expected["statistics"]}
    for path in links.values():
        assert isinstance(command("GET", path.lstrip("/")), ListRequests)
