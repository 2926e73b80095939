from __future__ import annotations

import json
from typing import Any

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.claiming import ClaimDevice
from claimsvc.core.command import Command
from claimsvc.core.decision import Refused
from claimsvc.core.devices import FindDevice, ReadAttributes
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Rejected, Request
from claimsvc.dialects.rest import flag
from claimsvc.settings import Settings
from tests.support.factories import NOW, inbound

DIALECTS = lanes_of(Settings())
CLAIM = "api/customer/device/Thermostat/claim"


def _read(tail: str, payload: bytes | str = b"{}") -> Request:
    request = DIALECTS.read(inbound(tail, payload))
    assert request is not None
    return request


def _answer(tail: str, payload: bytes | str = b"{}") -> Any:
    """Return the answer to what is refused without any rule."""
    request = _read(tail, payload)
    assert isinstance(request.asked, Refused)
    return json.loads(request.answer(request.asked, NOW)[0].payload)


def test_call_and_its_answer() -> None:
    """A call names its id, method and path; the answer comes under the id, status and body in JSON."""
    request = _read(f"request/r-1/POST/{CLAIM}", '{"secretKey":"value"}')
    assert isinstance(request.command, ClaimDevice)
    assert (request.command.caller, request.command.name) == ("alice", "Thermostat")
    assert (request.dialect, request.name, request.request_id) == (
        "thingsboard",
        "ClaimDevice",
        "r-1",
    )
    (out,) = request.answer(Refused(Reason.WRONG_KEY), NOW)
    assert (out.topic, out.payload) == ("claimsvc/u/alice/response/r-1", b'{"status":400,"body":"FAILURE"}')


@pytest.mark.parametrize(
    ("call", "dialect"),
    [
        (f"POST/{CLAIM}", "thingsboard"),
        ("GET/devicecontrol/newDeviceRequests", "cumulocity"),
        ("POST/devicecontrol/bulkNewDeviceRequests", "cumulocity"),
        ("GET/api/deviceProfiles", "thingsboard"),
        ("GET/claimsvc/users", "claimsvc"),
        ("POST/claimsvc/credentials", "claimsvc"),
        ("PUT/api/device", "thingsboard"),
        ("GET/devicecontrol/nothing", "cumulocity"),
        ("GET/nothing", "claimsvc"),
    ],
)
def test_a_call_belongs_to_the_dialect_whose_it_is(call: str, dialect: str) -> None:
    """Also one that is refused: by its path, and what nobody knows is ours."""
    assert _read(f"request/1/{call}").dialect == dialect


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("Thermostat", "Thermostat"),
        ("Test%20Claiming%20Device", "Test Claiming Device"),
        ("Test Claiming Device", "Test Claiming Device"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%2Bb", "a+b"),
        ("100%25", "100%"),
        ("a%252Fb", "a%2Fb"),
        ("%C3%A4%E2%82%AC", "ä€"),
        ("ä€", "ä€"),
        ("%3Fx", "?x"),
        ("a%zz", "a%zz"),
        ("claim", "claim"),
    ],
)
def test_path_segments_are_percent_encoded(segment: str, name: str) -> None:
    """Any device name fits into a segment, decoded once and after the path was taken apart."""
    command = _read(f"request/1/POST/api/customer/device/{segment}/claim").command
    assert isinstance(command, ClaimDevice)
    assert command.name == name


@pytest.mark.parametrize("segment", ["%FF", "%C3", "a%80b", "%ED%A0%80"])
def test_path_is_utf_8(segment: str) -> None:
    """Bytes that are no text are malformed."""
    answer = _answer(f"request/1/POST/api/customer/device/{segment}/claim")
    assert (answer["status"], answer["body"]["error"]) == (400, "malformed")


@pytest.mark.parametrize("request_id", ["a", "A-z_0.9~", "x" * 64])
def test_request_ids(request_id: str) -> None:
    """1 to 64 of the unreserved characters of a URL make a request id."""
    assert _read(f"request/{request_id}/POST/{CLAIM}").command is not None


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a%20b", "ä", "a:b", "a\n", "$1", "٣"])
def test_unusable_request_ids_are_malformed(request_id: str) -> None:
    """Another request id is refused, and answered where the client listens."""
    answer = _answer(f"request/{request_id}/POST/{CLAIM}")
    assert (answer["status"], answer["body"]["error"]) == (400, "malformed")
    assert "request id" in answer["body"]["message"]
    assert _read(f"request/{request_id}/POST/{CLAIM}").answer_topic.endswith(f"/response/{request_id}")


@pytest.mark.parametrize(
    ("tail", "shape"),
    [
        pytest.param("GET/api/nothing", "errorCode", id="below /api in ThingsBoard's words"),
        pytest.param("POST/api/customer/device/a/b/claim", "errorCode", id="a name of two levels"),
        pytest.param("GET/api", "error", id="the prefix alone"),
        pytest.param("GET/claimsvc/nothing", "error", id="below /claimsvc in ours"),
        pytest.param("GET/other", "error", id="anywhere else in ours"),
        pytest.param("GET//api/device", "error", id="a path of an empty level"),
        pytest.param("GET/API/device/1", "error", id="case matters"),
        pytest.param("GET/api/device/1/", "errorCode", id="a slash at the end"),
        pytest.param("GET", "error", id="no path"),
        pytest.param("", "error", id="no method"),
    ],
)
def test_unknown_call_is_404(tail: str, shape: str) -> None:
    """What is no call of ours is 404, worded by the nearest dialect."""
    answer = _answer(f"request/1/{tail}")
    assert (answer["status"], answer["body"]["error"]) == (404, "no_such_call")
    assert shape in answer["body"]


@pytest.mark.parametrize(
    ("call", "methods"),
    [
        (f"GET/{CLAIM}", "use DELETE or POST"),
        (f"post/{CLAIM}", "use DELETE or POST"),
        ("PUT/api/device", "use POST"),
        ("DELETE/claimsvc/tenants", "use GET or POST"),
        ("PATCH/claimsvc/users/bob", "use DELETE or GET or PUT"),
    ],
)
def test_wrong_method_is_405(call: str, methods: str) -> None:
    """A path with another method is 405, and the answer names the right ones."""
    answer = _answer(f"request/1/{call}")
    assert (answer["status"], answer["body"]["error"]) == (405, "method_not_allowed")
    assert methods in answer["body"]["message"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("deviceName=Thermostat", "Thermostat"),
        ("deviceName=Test%20Device", "Test Device"),
        ("deviceName=Test+Device", "Test Device"),
        ("deviceName=a%2Fb", "a/b"),
        ("deviceName=a/b", "a/b"),
        ("deviceName=%C3%A4", "ä"),
        ("deviceName=", ""),
        ("x=1&deviceName=b", "b"),
        ("deviceName=a&deviceName=b", "b"),
        ("deviceName=a?b", "a?b"),
    ],
)
def test_queries_are_read_as_in_a_url(query: str, name: str) -> None:
    """A query is what follows the first question mark, form-encoded."""
    command = _read(f"request/1/GET/api/tenant/devices?{query}").command
    assert isinstance(command, FindDevice)
    assert command.name == name


@pytest.mark.parametrize("query", ["", "?", "?deviceName", "?name=x", "?deviceName=%FF", "?" + "a=1&" * 200])
def test_unusable_queries_are_malformed(query: str) -> None:
    """A missing, undecodable or endless query is malformed, not broken."""
    request = _read(f"request/1/GET/api/tenant/devices{query}")
    if query == "?deviceName":
        assert isinstance(request.asked, Command)
        return
    assert _answer(f"request/1/GET/api/tenant/devices{query}")["status"] == 400


def test_query_does_not_change_the_path() -> None:
    """A question mark ends the path even where the last segment is a variable."""
    command = _read("request/1/GET/api/plugins/telemetry/DEVICE/7/values/attributes/SERVER_SCOPE?keys=a,b").command
    assert command == ReadAttributes("alice", "7", ("a", "b"))


def _content(tail: str, payload: bytes = b"{}") -> bytes:
    return _read(tail, payload).content


@pytest.mark.parametrize(
    ("tail", "payload"),
    [
        (f"request/1/DELETE/{CLAIM}", b"{}"),
        ("request/1/POST/api/customer/device/Other/claim", b"{}"),
        (f"request/1/POST/{CLAIM}?x=1", b"{}"),
        (f"request/1/POST/{CLAIM}", b"{ }"),
        (f"request/1/POST/{CLAIM}", b""),
    ],
)
def test_other_content_under_a_request_id_differs(tail: str, payload: bytes) -> None:
    """Method, path, query and body all tell a repeat from another request."""
    assert _content(tail, payload) != _content(f"request/1/POST/{CLAIM}")


def test_repeat_has_the_same_content() -> None:
    """The same request is the same content, whatever its id: that is compared apart."""
    assert _content(f"request/1/POST/{CLAIM}") == _content(f"request/2/POST/{CLAIM}")


@pytest.mark.parametrize(
    ("query", "expected"),
    [({}, False), ({"dryRun": "true"}, True), ({"dryRun": "false"}, False)],
    ids=["not asked for", "asked for", "declined"],
)
def test_a_rehearsal_is_asked_for(query: dict[str, str], expected: bool) -> None:  # noqa: FBT001 - a case's column
    """By one word."""
    assert flag(query, "dryRun") is expected


@pytest.mark.parametrize("word", ["", "1", "yes", "True", "TRUE"])
def test_a_slip_of_the_pen_is_no_order(word: str) -> None:
    """Who wanted a rehearsal must not get the real thing."""
    with pytest.raises(Rejected):
        flag({"dryRun": word}, "dryRun")
