"""Rules of files: each row for itself, a device let in, announced, updated, or refused with what is to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from claimsvc.core.bulk import (
    Entry,
    ImportAllowed,
    ImportClaimKeys,
    ImportDevices,
    NewDevice,
    RegisterDevices,
    RowDone,
    RowField,
    RowRefused,
    RowsDone,
    RowStatus,
    SetClaimKeys,
)
from claimsvc.core.decision import Decision, Refused
from claimsvc.core.model import (
    Attribute,
    Credential,
    Device,
    DeviceGroup,
    DeviceGroupMember,
    DeviceRequest,
    Principal,
    PrincipalKind,
    RequestStatus,
    Tenant,
)
from claimsvc.core.policy import MANAGEMENT_TENANT, Given
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from tests.support.factories import (
    MINUTE,
    NOW,
    accept_request,
    admin,
    credential,
    customer,
    device,
    events,
    facts,
    given,
    hashed,
    password,
    poll,
    removed,
    request,
    result,
    security_token,
    user,
    window,
    written,
)
from tests.support.memory import Memory, decide
from tests.unit.test_claim_key_rules import keyed

CREATED, UPDATED = RowDone(RowStatus.CREATED), RowDone(RowStatus.UPDATED)
OPERATOR = user("operator", roles=("operator",), customer_id=None)
MANAGER = admin("manager", tenant=MANAGEMENT_TENANT)


def row(device_id: str = "1234", entry: Entry = Entry.PASSWORD, **fields: object) -> NewDevice:
    """Return a row with the secret its way in needs, of no type, name, group or property."""
    secrets = {Entry.PASSWORD: password("pass12345"), Entry.ONE_TIME_PASSWORD: security_token("one-time")}
    values: dict[str, object] = {
        "secret": secrets.get(entry),
        "tenant": None,
        "type": None,
        "label": None,
        "path": (),
        "attributes": (),
    }
    return NewDevice(device_id, entry, **(values | fields))  # type: ignore[arg-type]


def known(*rows: object) -> Memory:
    """Return facts with an admin of each tenant, an operator, and these rows."""
    return facts(admin(), OPERATOR, MANAGER, *rows)  # type: ignore[arg-type]


def register(
    *rows: NewDevice | RowRefused, among: Memory | None = None, by: str = "root", at: Given | None = None
) -> tuple[Sequence[RowDone | RowRefused], Decision]:
    """Decide a slice that may be done; returns what became of each row."""
    decision = decide(RegisterDevices(by, rows), among or known(), at or given())
    assert isinstance(decision.outcome, RowsDone), decision.outcome
    return decision.outcome.results, decision


def own_device(device_id: str = "1234", **fields: object) -> Device:
    """Return a device as a file or a registration makes it."""
    return device(device_id, **({"principal": f"device_{device_id}"} | fields))


# --- who may


@pytest.mark.parametrize(
    ("by", "may_register", "may_set_keys"),
    [
        ("root", True, True),
        ("operator", True, False),
        ("viewer", False, False),
        ("alice", False, False),
        ("nobody", False, False),
        ("bootstrap", False, False),
    ],
)
def test_who_may_send_files(by: str, *, may_register: bool, may_set_keys: bool) -> None:
    """Operators register devices, admins do and set keys; the file as a whole and each slice are asked for."""
    people = known(user(), user("viewer", roles=("viewer",)))
    registering = (ImportDevices(by, names_tenants=False), RegisterDevices(by, (row(),)))
    keying = (ImportClaimKeys(by), SetClaimKeys(by, (keyed(),), may_replace=False))
    for commands, allowed in ((registering, may_register), (keying, may_set_keys)):
        for command in commands:
            found = result(decide(command, people, given()))
            assert (found is Reason.NOT_PERMITTED) is not allowed, command


def test_a_file_is_for_its_senders_tenant() -> None:
    """Which is what its event is kept under."""
    decision = decide(ImportDevices("root", names_tenants=False), known(), given())
    assert decision == Decision(ImportAllowed("default"))
    assert decide(ImportClaimKeys("manager"), known(), given()).outcome == ImportAllowed(MANAGEMENT_TENANT)


def test_the_management_tenant_names_tenants() -> None:
    """A file of its without that column is refused as a whole."""
    outcome = decide(ImportDevices("manager", names_tenants=False), known(), given()).outcome
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.detail[:7]) == (Reason.INVALID_VALUE, "TENANT:")
    allowed = decide(ImportDevices("manager", names_tenants=True), known(), given()).outcome
    assert allowed == ImportAllowed(MANAGEMENT_TENANT)


# --- devices with a password


def test_a_device_is_made_with_its_login() -> None:
    """Device, principal, login, type, name, properties; it is nobody's, and no request is left."""
    described = row(type="sensor", label="Device 1", attributes=(("c8y_Mobile", '{"iccid":"1"}'),))
    results, decision = register(described)
    assert list(results) == [CREATED]
    (made,) = written(decision.changes, Device)
    assert made == Device(made.id, "default", "1234", "device_1234", NOW, type="sensor", label="Device 1")
    assert written(decision.changes, Principal) == [Principal("device_1234", PrincipalKind.DEVICE, "default")]
    (login,) = written(decision.changes, Credential)
    assert (login.login, login.principal, login.secret_hash) == (
        "device_1234",
        "device_1234",
        password("pass12345").digest,
    )
    assert written(decision.changes, Attribute) == [Attribute(made.id, "c8y_Mobile", '{"iccid":"1"}', NOW)]
    assert written(decision.changes, DeviceRequest) == []
    assert (events(decision.changes), decision.ended) == (["device_created"], ())


def test_with_the_plugin_it_has_cumulocitys_logins_too() -> None:
    """As an accepted device has."""
    _, decision = register(row(), at=given(several_logins=True))
    assert {each.login for each in written(decision.changes, Credential)} == {"device_1234", "default/device_1234"}


def test_a_known_device_is_updated() -> None:
    """A new password, what the row says; its owner and what the row leaves out stay. Its connections end."""
    earlier = own_device(owner="c1", label="Old", type="old")
    results, decision = register(
        row(label="New"), among=known(customer(), earlier, credential("device_1234", principal="device_1234"))
    )
    assert list(results) == [UPDATED]
    assert written(decision.changes, Device) == [replace(earlier, label="New")]
    assert [each.secret_hash for each in written(decision.changes, Credential)] == [password("pass12345").digest]
    assert (events(decision.changes), decision.ended) == (["credentials_replaced"], ("device_1234",))


def test_a_file_that_is_sent_again_updates_its_devices() -> None:
    """Every row of it."""
    among, at = known(), given()
    rows = [row("a", path=("g", "h")), row("b", path=("g",))]
    assert list(register(*rows, among=among, at=at)[0]) == [CREATED, CREATED]
    results, decision = register(*rows, among=among, at=at)
    assert list(results) == [UPDATED, UPDATED]
    assert (written(decision.changes, Device), written(decision.changes, DeviceGroup)) == ([], [])


def test_a_device_of_a_list_of_claim_keys_gets_its_login() -> None:
    """Nobody spoke for it; it keeps its window."""
    results, decision = register(row(), among=known(device("1234", principal=None), window(device("1234"))))
    assert list(results) == [UPDATED]
    assert [each.principal for each in written(decision.changes, Device)] == ["device_1234"]
    assert removed(decision.changes) == []


def test_a_password_ends_a_request_that_waits() -> None:
    """Whoever polled before it, a thief perhaps, is told nothing and gets nothing any more."""
    among = known(request())
    _, decision = register(row(), among=among)
    assert removed(decision.changes) == [(DeviceRequest, "1234")]
    assert "request_deleted" in events(decision.changes)
    assert result(decide(poll(), among, given())) is Reason.NO_REQUEST
    assert result(decide(accept_request(), among, given())) is Reason.NO_REQUEST


def test_another_tenants_request_stays() -> None:
    """It leads to another device."""
    among = known(Tenant("acme", "Acme", NOW), request(tenant="acme"))
    _, decision = register(row(), among=among)
    assert removed(decision.changes) == []


# --- other ways in


def test_a_device_is_announced() -> None:
    """It waits for its connection, and is put into its group when it is accepted."""
    among = known()
    results, decision = register(row(entry=Entry.REQUEST, path=("Group A", "Group B")), among=among, by="operator")
    assert list(results) == [CREATED]
    _, inner = written(decision.changes, DeviceGroup)
    assert written(decision.changes, Device) == []
    assert written(decision.changes, DeviceRequest) == [
        request(RequestStatus.WAITING_FOR_CONNECTION, owner="operator", group_id=inner.id)
    ]
    assert events(decision.changes) == ["device_group_created", "device_group_created", "request_created"]
    decide(poll(), among, given())
    accepted = decide(accept_request(), among, given())
    (made,) = written(accepted.changes, Device)
    assert written(accepted.changes, DeviceGroupMember) == [DeviceGroupMember(inner.id, made.id)]


def test_a_one_time_password_opens_an_accepted_request() -> None:
    """The device is there already, without a login; the poll that shows the password gets one."""
    among = known()
    results, decision = register(row(entry=Entry.ONE_TIME_PASSWORD, path=("g",)), among=among)
    assert list(results) == [CREATED]
    assert written(decision.changes, Credential) == []
    (opened,) = written(decision.changes, DeviceRequest)
    assert (opened.status, opened.enrollment_hash) == (RequestStatus.ACCEPTED, hashed("one-time"))
    assert opened.enrollment_until_ms == NOW + 60 * MINUTE
    (member,) = written(decision.changes, DeviceGroupMember)
    assert result(decide(poll("guess"), among, given())) is Reason.NOT_ACCEPTED
    entering = decide(poll("one-time"), among, given())
    assert [each.principal for each in written(entering.changes, Credential)] == ["device_1234"]
    assert among.get(DeviceGroupMember, member.key) == member


def test_a_certificate_is_somebody_elses_to_check() -> None:
    """Device and principal without a login of ours, also where this service keeps none at all."""
    results, decision = register(row(entry=Entry.ELSEWHERE), at=given(issue_logins=False))
    assert list(results) == [CREATED]
    assert [each.principal for each in written(decision.changes, Device)] == ["device_1234"]
    assert (written(decision.changes, Credential), written(decision.changes, DeviceRequest)) == ([], [])


@pytest.mark.parametrize("entry", [Entry.ONE_TIME_PASSWORD, Entry.ELSEWHERE])
def test_a_known_device_keeps_its_login_where_the_row_brings_none(entry: Entry) -> None:
    """And its connections."""
    login = credential("device_1234", principal="device_1234")
    results, decision = register(row(entry=entry), among=known(own_device(), login))
    assert list(results) == [UPDATED]
    assert (written(decision.changes, Credential), decision.ended) == ([], ())


# --- what is refused

LIMITED = given(device_limit=1)
REFUSALS: dict[str, tuple[NewDevice, Callable[[], Memory], Given, Reason, RowField | None]] = {
    # name: row, what is known, the operator's choices, reason, what is to blame
    "an id that cannot be one": (row("a/b"), known, given(), Reason.INVALID_DEVICE_ID, RowField.DEVICE_ID),
    "no id": (row(""), known, given(), Reason.INVALID_DEVICE_ID, RowField.DEVICE_ID),
    "an id of 1001": (row("x" * 1_001), known, given(), Reason.INVALID_DEVICE_ID, RowField.DEVICE_ID),
    "an id that cannot be announced": (
        row("a b", Entry.REQUEST),
        known,
        given(),
        Reason.INVALID_DEVICE_ID,
        RowField.DEVICE_ID,
    ),
    "a password where logins are somebody else's": (
        row(),
        known,
        given(issue_logins=False),
        Reason.INVALID_VALUE,
        RowField.SECRET,
    ),
    "an announcement that was made": (
        row(entry=Entry.REQUEST),
        lambda: known(request()),
        given(),
        Reason.ALREADY_REQUESTED,
        RowField.DEVICE_ID,
    ),
    "a one-time password where a request waits": (
        row(entry=Entry.ONE_TIME_PASSWORD),
        lambda: known(request()),
        given(),
        Reason.ALREADY_REQUESTED,
        RowField.DEVICE_ID,
    ),
    "a device of another login": (
        row(),
        lambda: known(device("1234", principal="1234")),
        given(),
        Reason.NAME_TAKEN,
        RowField.DEVICE_ID,
    ),
    "a device a gateway speaks for": (
        row(),
        lambda: known(device("1234", principal=None, gateway_id="g")),
        given(),
        Reason.NAME_TAKEN,
        RowField.DEVICE_ID,
    ),
    "a login that is a user's": (
        row(),
        lambda: known(user("device_1234")),
        given(),
        Reason.NAME_TAKEN,
        RowField.DEVICE_ID,
    ),
    "a login the broker admits already": (
        row(),
        known,
        replace(given(), foreign_logins=frozenset({"device_1234"})),
        Reason.NAME_TAKEN,
        RowField.DEVICE_ID,
    ),
    "one device too many": (
        row(),
        lambda: counted(1),
        LIMITED,
        Reason.DEVICE_LIMIT,
        None,
    ),
    "one announcement too many": (
        row(entry=Entry.REQUEST),
        lambda: counted(1),
        LIMITED,
        Reason.DEVICE_LIMIT,
        RowField.DEVICE_ID,
    ),
}


def counted(devices: int) -> Memory:
    """Return facts of a tenant with so many devices."""
    among = known()
    among.count_devices("default", devices)
    return among


@pytest.mark.parametrize(("bad", "among", "at", "reason", "field"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_row_is_refused_and_the_others_are_done(
    bad: NewDevice, among: Callable[[], Memory], at: Given, reason: Reason, field: RowField | None
) -> None:
    """With its reason and what is to blame; it changes nothing, not even a group."""
    refused = replace(bad, path=("group",))
    fine = row("fine", Entry.ELSEWHERE)
    (result_of_bad, *_), decision = register(refused, among=among(), at=at)
    assert isinstance(result_of_bad, RowRefused)
    assert (result_of_bad.refused.reason, result_of_bad.column) == (reason, field)
    assert decision.changes == ()
    if at is not LIMITED:
        results, _ = register(refused, fine, among=among(), at=at)
        assert results[1] == CREATED


def test_a_full_tenant_still_updates() -> None:
    """And its last place is given once."""
    among = counted(1)
    among.put(own_device("old"))
    among.put(Principal("device_old", PrincipalKind.DEVICE, "default"))
    results, _ = register(row("old"), row("a"), row("b"), among=among, at=given(device_limit=2))
    assert [type(each) for each in results] == [RowDone, RowDone, RowRefused]


def test_what_was_not_understood_keeps_its_place() -> None:
    """Its results stand in the order of the rows."""
    garbage = RowRefused(Refused(Reason.MALFORMED, "2 cells"))
    results, _ = register(row("a"), garbage, row("b"))
    assert list(results) == [CREATED, garbage, CREATED]


# --- tenants


def test_an_ordinary_tenants_column_is_ignored() -> None:
    """Whatever it says, the device is its own."""
    _, decision = register(row(tenant="management"), row("b", tenant="no such tenant"))
    assert {each.tenant for each in written(decision.changes, Device)} == {"default"}


def test_the_management_tenant_registers_for_others() -> None:
    """Each row for its tenant, whose group it is put into; one for nobody is refused."""
    among = known(Tenant("acme", "Acme", NOW))
    rows = [
        row("a", tenant="acme", path=("g",)),
        row("b", tenant="default", path=("g",)),
        row("c"),
        row("d", tenant="x"),
    ]
    results, decision = register(*rows, among=among, by="manager")
    assert [each.column if isinstance(each, RowRefused) else each for each in results] == [
        CREATED,
        CREATED,
        RowField.TENANT,
        RowField.TENANT,
    ]
    assert [(each.tenant, each.principal) for each in written(decision.changes, Device)] == [
        ("acme", "acme%2Fdevice_a"),
        ("default", "device_b"),
    ]
    assert [(each.tenant, each.path) for each in written(decision.changes, DeviceGroup)] == [
        ("acme", "g"),
        ("default", "g"),
    ]


# --- groups


def test_groups_are_made_once() -> None:
    """By the first row that names them, also in between; the next slice finds them."""
    among, at = known(), given()
    _, decision = register(
        row("a", path=("x", "y")), row("b", path=("x", "z")), row("c", path=("x",)), among=among, at=at
    )
    made = {each.path: each.id for each in written(decision.changes, DeviceGroup)}
    assert list(made) == ["x", "x/y", "x/z"]
    ids = {each.name: each.id for each in written(decision.changes, Device)}
    assert [(each.group_id, each.device_id) for each in written(decision.changes, DeviceGroupMember)] == [
        (made["x/y"], ids["a"]),
        (made["x/z"], ids["b"]),
        (made["x"], ids["c"]),
    ]
    _, decision = register(row("d", path=("x", "y")), among=among, at=at)
    assert written(decision.changes, DeviceGroup) == []


def test_secrets_reach_no_rule_in_clear() -> None:
    """A row whose password was not hashed breaks instead."""
    plain = row(secret=Secret(SecretKind.PASSWORD, "pass12345"))
    with pytest.raises(RuntimeError, match="in clear"):
        register(plain)
