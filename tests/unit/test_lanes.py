from __future__ import annotations

from typing import Any

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.claiming import ReadSessionLimits
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Outcome, Refused
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import AnswerTails, Endpoint, Inbound, Request
from claimsvc.mqtt.lanes import LONGEST_TOPIC, Lanes
from claimsvc.settings import Settings
from tests.support.factories import NOW, inbound

DIALECTS = lanes_of(Settings())
CLAIM = "v1/devices/me/claim"
CALL = "request/1/POST/api/device"


def _limited(**limits: int) -> Any:
    return lanes_of(Settings.model_validate({"limits": limits}))


@pytest.mark.parametrize(
    ("tail", "limit"),
    [
        (CLAIM, "payload_bytes"),
        ("v2/c/j", "payload_bytes"),
        ("v1/devices/me/rpc/request/1", "payload_bytes"),
        ("v1/gateway/claim", "gateway_bytes"),
        (CALL, "payload_bytes"),
    ],
)
def test_oversize_is_refused_without_parsing(tail: str, limit: str) -> None:
    """A byte over the limit is too large whatever the bytes are; at the limit they are parsed."""
    dialects = _limited(**{limit: 100})
    for size, reason in ((101, Reason.TOO_LARGE), (100, Reason.MALFORMED)):
        refused = dialects.read(inbound(tail, b"{" * size)).asked
        assert isinstance(refused, Refused)
        assert refused.reason is reason


def test_gateway_names_so_many_devices() -> None:
    """More devices than the limit are too large; as many are fine."""
    dialects = _limited(gateway_devices=2)
    many = dialects.read(inbound("v1/gateway/claim", '{"A":{},"B":{},"C":{}}')).asked
    assert isinstance(many, Refused)
    assert many.reason is Reason.TOO_LARGE
    assert dialects.read(inbound("v1/gateway/claim", '{"A":{},"B":{}}')).command is not None


@pytest.mark.parametrize(
    ("response_topic", "answer_topic"),
    [
        pytest.param(None, f"claimsvc/u/alice/{CLAIM}/response", id="none"),
        pytest.param("claimsvc/u/alice/response/x", "claimsvc/u/alice/response/x", id="in the own lane"),
        pytest.param("claimsvc/u/alice/response/x/y", "claimsvc/u/alice/response/x/y", id="of two levels"),
        *(
            pytest.param(topic, f"claimsvc/u/alice/{CLAIM}/response", id=why)
            for why, topic in {
                "in another's lane": "claimsvc/u/bob/response/x",
                "in a lane that begins like the own": "claimsvc/u/alice2/response/x",
                "in a client's lane": "claimsvc/c/bootstrap/alice/response/x",
                "outside response": "claimsvc/u/alice/request/1/POST/api/device",
                "beside response": "claimsvc/u/alice/responses/x",
                "the service's word": "claimsvc/status",
                "nothing": "",
                "a wildcard": "claimsvc/u/alice/response/+",
                "an open end": "claimsvc/u/alice/response/#",
                "a null": "claimsvc/u/alice/response/\0",
                "a noncharacter": "claimsvc/u/alice/response/\ufffe",
            }.items()
        ),
    ],
)
def test_answers_stay_in_the_askers_lane(response_topic: str | None, answer_topic: str) -> None:
    """Response Topic counts below `response/` of the own lane only; else it is ignored, and that noted."""
    request = DIALECTS.read(inbound(CLAIM, response_topic=response_topic))
    assert request is not None
    assert request.answer_topic == answer_topic
    assert request.response_topic_ignored is (response_topic not in {None, answer_topic})


@pytest.mark.parametrize("tail", [CLAIM, "v1/gateway/claim", "v1/devices/me/rpc/request/1", CALL])
def test_correlation_data_is_echoed(tail: str) -> None:
    """The answer has the request's Correlation Data, byte for byte; a notice has none."""
    request = DIALECTS.read(inbound(tail, correlation=b"\0\xff"))
    assert request is not None
    assert request.answer(Refused(Reason.INTERNAL), NOW)[0].correlation == b"\0\xff"


@pytest.mark.parametrize(
    "topic",
    [
        "claimsvc/u/alice",
        "claimsvc/u//v2/c",
        "claimsvc/u/alice/v2/c/p",
        "claimsvc/u/alice/v2",
        "claimsvc/u/alice//v2/c",
        "claimsvc/c/alice/v2/c",
        "claimsvc/c/bootstrap/alice/v2/c",
        "claimsvc/u/alice/v1/devices/me/claim/response",
        "claimsvc/u/alice/v1/devices/me/telemetry",
        "claimsvc/status",
        "other/u/alice/v2/c",
        "v2/c",
        "",
    ],
)
def test_other_topics_are_no_request(topic: str) -> None:
    """What is on no topic of ours is nobody's request."""
    assert not DIALECTS.read(Inbound(topic, b"", 1, 1, 1, 0.0)).lane


def test_payload_says_nothing_about_who_asks() -> None:
    """The lane is believed, and nothing else."""
    request = DIALECTS.read(inbound(CLAIM, '{"caller":"bob","principal":"bob"}', caller="a%2Fb"))
    assert request is not None
    assert isinstance(request.asked, Command)
    assert (request.command.caller, request.lane) == ("a%2Fb", "claimsvc/u/a%2Fb/")


def test_root_is_a_setting() -> None:
    """Every topic begins with the operator's root, which may have levels."""
    dialects = lanes_of(Settings.model_validate({"mqtt": {"root": "iot/claims"}}))
    assert all(
        each.startswith(("iot/claims/u/+/", "iot/claims/c/bootstrap/+/", "iot/claims/c/provision/+/"))
        for each in dialects.filters
    )
    request = dialects.read(Inbound("iot/claims/u/alice/v2/c", b"", 1, 1, 1, 0.0))
    assert request is not None
    assert request.answer_topic == f"iot/claims/u/alice/{CLAIM}/response"


# --- a dialect whose refusals have a topic of their own


def _shadow(inbound: Inbound) -> Request:
    tails = AnswerTails(f"{inbound.tail}/accepted", f"{inbound.tail}/rejected")
    return Request(
        inbound, ReadSessionLimits(inbound.caller), lambda _outcome, _now: b"{}", tails, "Shadow", "shadow"
    )


SHADOW = Lanes("claimsvc", [Endpoint("shadow", "shadow/+", _shadow)], {}, lambda _event: b"")


@pytest.mark.parametrize(
    ("response_topic", "is_ignored"),
    [
        pytest.param(None, False, id="none"),
        pytest.param("shadow/claim/accepted", False, id="the plain topic of answers"),
        pytest.param("shadow/claim/rejected", False, id="the plain topic of refusals"),
        pytest.param("shadow/claim", True, id="another one"),
    ],
)
def test_refusals_have_a_topic_of_their_own(response_topic: str | None, *, is_ignored: bool) -> None:
    """The outcome decides; a client that names one of the plain topics is not told that this is ignored."""
    request = SHADOW.read(inbound("shadow/claim", response_topic=response_topic))
    assert request.response_topic_ignored is is_ignored
    for outcome, word in ((Done(), "accepted"), (Refused(Reason.NOT_FOUND), "rejected")):
        (answer,) = request.answer(outcome, NOW)
        assert answer.topic == f"claimsvc/u/alice/shadow/claim/{word}"


def test_a_client_may_choose_one_topic_for_both() -> None:
    """A Response Topic below `response/` of the own lane replaces both."""
    chosen = "claimsvc/u/alice/response/x"
    request = SHADOW.read(inbound("shadow/claim", response_topic=chosen))
    outcomes: list[Outcome] = [Done(), Refused(Reason.NOT_FOUND)]
    assert [request.answer(each, NOW)[0].topic for each in outcomes] == [chosen, chosen]


@pytest.mark.parametrize(("spare", "name"), [(0, "Shadow"), (-1, "unknown")], ids=["just fits", "too long"])
def test_an_answer_whose_topic_would_be_too_long_is_not_begun(spare: int, name: str) -> None:
    """The longer of the two topics counts: nothing is decided that could not be answered."""
    level = "x" * (LONGEST_TOPIC - len("claimsvc/u/alice/shadow//accepted") - spare)
    assert SHADOW.read(inbound(f"shadow/{level}")).name == name
