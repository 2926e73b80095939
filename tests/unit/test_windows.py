from __future__ import annotations

import pytest

from claimsvc.core.claiming import (
    OpenWindows,
    ReadSessionLimits,
    SessionLimits,
    WindowEntry,
    WindowOpened,
    WindowsOpened,
)
from claimsvc.core.decision import Refused
from claimsvc.core.model import ClaimWindow, Device, Principal, PrincipalKind, Row
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    DAY,
    MINUTE,
    NOW,
    SERVICE,
    admin,
    allowed,
    claim_device,
    customer,
    device,
    events,
    facts,
    gateway,
    given,
    hashed,
    key,
    open_window,
    result,
    user,
    window,
    written,
)
from tests.support.memory import decide

KNOWN = device()
BOX = gateway()


@pytest.mark.parametrize(
    ("rows", "policy", "expected"),
    [
        pytest.param([KNOWN], {}, WindowOpened, id="an unowned device"),
        pytest.param([KNOWN, window(KNOWN)], {}, WindowOpened, id="a window is open already"),
        pytest.param([], {}, WindowOpened, id="a device nobody knew"),
        pytest.param([], {"auto_create": False}, Reason.UNKNOWN_DEVICE, id="unknown, and not created"),
        pytest.param([KNOWN], {"auto_create": False}, WindowOpened, id="known, and not created"),
        pytest.param([device(owner="c1")], {}, Reason.ALREADY_CLAIMED, id="an owned device"),
        pytest.param([KNOWN], {"allow_by_default": False}, Reason.CLAIMING_NOT_ALLOWED, id="without claimingAllowed"),
        pytest.param(
            [KNOWN, allowed(KNOWN)], {"allow_by_default": False}, WindowOpened, id="claimingAllowed is true"
        ),
        pytest.param(
            [KNOWN, allowed(KNOWN, "false")],
            {"allow_by_default": False},
            Reason.CLAIMING_NOT_ALLOWED,
            id="claimingAllowed is false",
        ),
        pytest.param(
            [KNOWN, allowed(KNOWN, '"true"')],
            {"allow_by_default": False},
            Reason.CLAIMING_NOT_ALLOWED,
            id="claimingAllowed is the text true",
        ),
        pytest.param(
            [], {"allow_by_default": False}, Reason.CLAIMING_NOT_ALLOWED, id="unknown without claimingAllowed"
        ),
        pytest.param([user("Thermostat")], {}, Reason.NOT_A_DEVICE, id="a user"),
        pytest.param([admin("Thermostat")], {}, Reason.NOT_A_DEVICE, id="an admin"),
        pytest.param(
            [device(principal=None, gateway_id="g")],
            {},
            Reason.NAME_TAKEN,
            id="a gateway speaks for the name",
        ),
        pytest.param([device(principal="other")], {}, Reason.NAME_TAKEN, id="the name has another login"),
        pytest.param([device(tenant="acme", principal="x")], {}, WindowOpened, id="the name in another tenant"),
    ],
)
def test_opening_a_window(rows: list[Row], policy: dict[str, object], expected: object) -> None:
    """A window opens for an unowned device that may be claimed, and for nobody else."""
    assert expected == result(decide(open_window(), facts(*rows), given(**policy)))  # type: ignore[arg-type]


@pytest.mark.parametrize("caller", [SERVICE, "bootstrap", "provision"])
def test_reserved_names_are_never_made_into_devices(caller: str) -> None:
    """The logins of the service, `bootstrap` and `provision` never become a device."""
    known = facts()
    decision = decide(open_window(caller), known, given())
    assert Refused is type(decision.outcome)
    assert None is known.device_of(caller)


@pytest.mark.parametrize("caller", ["x" * 256, "a\x01b", "a\ufffeb"])
def test_unusable_names_are_never_made_into_devices(caller: str) -> None:
    """A principal that no topic or row can carry is refused."""
    assert Reason.INVALID_NAME is result(decide(open_window(caller), facts(), given()))


def test_first_word_makes_a_device_of_the_default_tenant() -> None:
    """A device nobody knew gets its principal as its name, and an audit event."""
    decision = decide(open_window(), facts(), given())
    made = device(id="id-1")
    assert [made] == written(decision.changes, Device)
    assert [Principal("Thermostat", PrincipalKind.DEVICE, "default")] == written(decision.changes, Principal)
    assert events(decision.changes) == ["device_created"]
    assert [window(made)] == written(decision.changes, ClaimWindow)


@pytest.mark.parametrize(
    ("asked_ms", "waited_ms", "opened_ms"),
    [
        pytest.param(MINUTE, None, MINUTE, id="as asked"),
        pytest.param(None, None, DAY, id="the default where nothing is asked"),
        pytest.param(0, None, DAY, id="the default for nought"),
        pytest.param(-5, None, DAY, id="the default for less than nothing"),
        pytest.param(3 * DAY, None, 2 * DAY, id="cut to the maximum"),
        pytest.param(2**63, None, 2 * DAY, id="nothing overflows"),
        pytest.param(MINUTE, 20_000, MINUTE - 20_000, id="shorter by the time it waited"),
        pytest.param(MINUTE, -20_000, MINUTE, id="a stamp of the future does not lengthen"),
        pytest.param(MINUTE, MINUTE, 0, id="the last millisecond still counts"),
        pytest.param(3 * DAY, DAY, DAY, id="the maximum counts from the stamp"),
    ],
)
def test_window_lasts(asked_ms: int | None, waited_ms: int | None, opened_ms: int) -> None:
    """A window ends after what was asked, within the maximum, counted from when the broker had it."""
    stamp = None if waited_ms is None else NOW - waited_ms
    command = open_window(duration_ms=asked_ms, received_at_ms=stamp)
    decision = decide(command, facts(KNOWN), given(default_duration_ms=DAY, max_duration_ms=2 * DAY))
    assert WindowOpened("Thermostat", NOW + opened_ms) == decision.outcome


def test_message_that_waited_longer_than_its_window_opens_none() -> None:
    """A window that would be over already is refused, and an open one is not shortened by it."""
    known = facts(KNOWN, window(KNOWN))
    decision = decide(open_window(received_at_ms=NOW - MINUTE - 1), known, given())
    assert Reason.WINDOW_EXPIRED is result(decision)
    assert decision.changes == ()
    assert [window(KNOWN)] == known.windows(KNOWN.id)


def test_newest_window_replaces_an_older_one() -> None:
    """The newest key and end count; the older key no longer claims."""
    known = facts(customer(), user(), KNOWN, window(KNOWN, "old", attempts=3))
    decide(open_window(text="new"), known, given())
    assert [window(KNOWN, "new")] == known.windows(KNOWN.id)
    assert Reason.WRONG_KEY is result(decide(claim_device(text="old"), known, given()))


def test_same_message_again_changes_nothing() -> None:
    """The same message at the same time writes the same row."""
    known = facts(KNOWN)
    first, second = (decide(open_window(), known, given()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("rows", "at_ms", "expected"),
    [
        pytest.param([KNOWN], NOW, MINUTE, id="what was never handled opens it"),
        pytest.param([KNOWN, window(KNOWN)], NOW + 5, MINUTE, id="its window is opened anew, as by a newer message"),
        pytest.param([KNOWN, window(KNOWN, "other")], NOW + 5, MINUTE, id="another key's window is replaced"),
        pytest.param([KNOWN, window(KNOWN)], NOW + MINUTE + 1, MINUTE, id="an ended window does not count"),
        pytest.param(
            [device(claimed_with=hashed("value"))], NOW, Reason.WINDOW_EXPIRED, id="a claim with its key ended it"
        ),
        pytest.param([device(claimed_with=hashed("other"))], NOW, MINUTE, id="a claim with another key did not"),
    ],
)
def test_redelivered_message_does_nothing_twice(rows: list[Row], at_ms: int, expected: object) -> None:
    """A message that comes again after a crash opens no window that was claimed with and released since."""
    outcome = decide(open_window(redelivered=True), facts(*rows), given(at_ms)).outcome
    if isinstance(outcome, WindowOpened):
        assert outcome.expires_at_ms - at_ms == expected
    else:
        assert isinstance(outcome, Refused)
        assert outcome.reason is expected


def test_first_delivery_opens_a_window_anew() -> None:
    """Only a redelivery is taken for an old message: a released device opens its next window at once."""
    known = facts(device(claimed_with=hashed("value")))
    assert decide(open_window(), known, given()).outcome == WindowOpened("Thermostat", NOW + MINUTE)


# --- gateways


def _entry(name: str, text: str = "value") -> WindowEntry:
    return WindowEntry(name, key(text), MINUTE)


def _open_windows(*entries: WindowEntry | tuple[str, Refused], by: str = "Gateway") -> OpenWindows:
    return OpenWindows(by, entries, None, redelivered=False)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], WindowOpened, id="a device that does not exist"),
        pytest.param([device(gateway_id=BOX.id)], WindowOpened, id="a device of this gateway"),
        pytest.param([device()], Reason.NOT_PERMITTED, id="a device of its own"),
        pytest.param([device(gateway_id="other")], Reason.NOT_PERMITTED, id="another gateway's device"),
        pytest.param(
            [device(gateway_id=BOX.id, owner="c1")],
            Reason.ALREADY_CLAIMED,
            id="an owned device of this gateway",
        ),
        pytest.param([device(tenant="acme", principal="x")], WindowOpened, id="the name in another tenant"),
    ],
)
def test_gateway_speaks_for_its_devices(rows: list[Row], expected: object) -> None:
    """A gateway opens windows for devices it made or was bound to, and for no boxed device."""
    outcome = decide(_open_windows(_entry("Thermostat")), facts(BOX, *rows), given()).outcome
    assert isinstance(outcome, WindowsOpened)
    (name, got), *others = outcome.entries
    assert (name, others) == ("Thermostat", [])
    assert expected == (got.reason if isinstance(got, Refused) else type(got))


def test_gateway_makes_the_devices_it_names() -> None:
    """A device a gateway names belongs to its tenant and gateway, and has no login."""
    box = gateway(tenant="acme", principal="acme%2FGateway")
    decision = decide(_open_windows(_entry("A"), by="acme%2FGateway"), facts(box), given())
    made = device("A", id="id-1", tenant="acme", principal=None, gateway_id=box.id)
    assert [made] == written(decision.changes, Device)
    assert [window(made)] == written(decision.changes, ClaimWindow)


def test_one_bad_entry_stops_no_other() -> None:
    """Each entry has an answer of its own, in the message's order."""
    bad = ("B", Refused(Reason.MALFORMED, "durationMs"))
    command = _open_windows(_entry("A"), bad, _entry("x" * 256), _entry("Own"), _entry("C", "c"))
    decision = decide(command, facts(BOX, device("Own")), given())
    assert isinstance(decision.outcome, WindowsOpened)
    assert [name for name, _ in decision.outcome.entries] == ["A", "B", "x" * 256, "Own", "C"]
    assert [got.reason if isinstance(got, Refused) else None for _, got in decision.outcome.entries] == [
        None,
        Reason.MALFORMED,
        Reason.INVALID_NAME,
        Reason.NOT_PERMITTED,
        None,
    ]
    assert [hashed("value"), hashed("c")] == [row.key_hash for row in written(decision.changes, ClaimWindow)]


@pytest.mark.parametrize(
    "rows", [[], [device("Gateway")], [user("Gateway")]], ids=["nobody knows it", "a device", "a user"]
)
def test_only_a_gateway_speaks_for_others(rows: list[Row]) -> None:
    """Who is not marked as a gateway is refused, and nothing is made."""
    decision = decide(_open_windows(_entry("A")), facts(*rows), given())
    assert (result(decision), decision.changes) == (Reason.NOT_A_GATEWAY, ())


def test_gateway_devices_need_claiming_allowed_too() -> None:
    """Where claiming is not allowed by default, a gateway's device needs the attribute as well."""
    child = device("A", gateway_id=BOX.id)
    known = facts(BOX, child, allowed(child))
    outcome = decide(_open_windows(_entry("A"), _entry("B")), known, given(allow_by_default=False)).outcome
    assert isinstance(outcome, WindowsOpened)
    (_, first), (_, second) = outcome.entries
    assert WindowOpened("A", NOW + MINUTE) == first
    assert Refused(Reason.CLAIMING_NOT_ALLOWED) == second


@pytest.mark.parametrize(("rows", "is_gateway"), [([BOX], True), ([device("Gateway")], False), ([], False)])
def test_session_limits_are_for_everybody(rows: list[Row], *, is_gateway: bool) -> None:
    """A client that may speak gets its limits; a gateway gets more of them."""
    decision = decide(ReadSessionLimits("Gateway"), facts(*rows), given())
    assert (SessionLimits(is_gateway), ()) == (decision.outcome, decision.changes)
