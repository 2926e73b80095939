"""Every need that a command declares is necessary: without it, its rule reads what nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from claimsvc.core import rules
from claimsvc.core.accounts import (
    AdmitShared,
    CreateCustomer,
    CreateGroup,
    CreateRole,
    CreateTenant,
    CreateUser,
    DeleteCustomer,
    DeleteUser,
    Establish,
    ListItems,
    ReadCustomer,
    ReadUser,
    UpdateUser,
)
from claimsvc.core.bulk import (
    Entry,
    ImportClaimKeys,
    ImportDevices,
    KeyedDevice,
    NewDevice,
    RegisterDevices,
    SetClaimKeys,
)
from claimsvc.core.claiming import OpenWindows, ReadSessionLimits, WindowEntry
from claimsvc.core.command import Command
from claimsvc.core.credentials import RevokeCredentials, RotateCredentials, RotateOwnCredentials
from claimsvc.core.decision import Decision, Refused
from claimsvc.core.devices import (
    BindDevices,
    CreateDevice,
    CreateGateway,
    DeleteAttributes,
    DeleteDevice,
    FindDevice,
    ReadAttributes,
    ReadCredentials,
    ReadDevice,
    SetAttributes,
    UpdateDevice,
)
from claimsvc.core.facts import Needs, NotAskedError
from claimsvc.core.inventory import ExamineClaiming, ListDevices
from claimsvc.core.model import (
    DeviceGroup,
    Group,
    Principal,
    PrincipalKind,
    RequestStatus,
    Role,
    Row,
    Strategy,
    Tenant,
)
from claimsvc.core.policy import MANAGEMENT_TENANT
from claimsvc.core.provisioning import DeleteProfile, ListProfiles, ReadProfile
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import DeleteRequest, ListRequests, ReadLimit, ReadRequest
from claimsvc.core.rules import RULES
from claimsvc.store import mapping
from claimsvc.store.mapping import Loading
from tests.support.factories import (
    NOW,
    SERVICE,
    accept_all,
    accept_request,
    admin,
    allowed,
    claim_device,
    create_request,
    credential,
    customer,
    device,
    enrollment,
    facts,
    gateway,
    given,
    key,
    open_window,
    password,
    poll,
    release_device,
    request,
    token,
    user,
    window,
)
from tests.support.memory import Memory, decide_batch
from tests.support.profiles import any_login, meter, profile, provision, save_profile, this_token


@dataclass(frozen=True)
class Scene:
    """A batch, and what is stored before."""

    batch: tuple[Command, ...]
    rows: tuple[Row, ...] = ()
    policy: dict[str, Any] = field(default_factory=dict)

    @property
    def memory(self) -> Memory:
        return facts(admin(), MANAGER, *self.rows)


def scene(*batch: Command, rows: Iterable[Row] = (), **policy: Any) -> Scene:
    """Return a scene."""
    return Scene(batch, tuple(rows), policy)


MANAGER = admin("manager", tenant=MANAGEMENT_TENANT)
BOX, CHILD, KNOWN = gateway(), device("Child", gateway_id="device-Gateway"), device()
MOVERS, MOVER = Group("default", "movers", ("mover",)), Role("default", "mover", ("TENANT_ADMIN",))
DIGGER = Role("default", "digger", ())
HALL = DeviceGroup("hall", "default", "Hall", NOW)
PENDING, WAITING = request(), request(RequestStatus.WAITING_FOR_CONNECTION)
ACCEPTED = request(RequestStatus.ACCEPTED)
SHARED = Principal("bootstrap", PrincipalKind.USER, "default")
LIMITED: dict[str, Any] = {"device_limit": 5}
ROTATING: dict[str, Any] = {"rotate_on_release": True}
STRICT: dict[str, Any] = {"allow_by_default": False}
OWNED = device(owner="c1", claimed_at_ms=NOW)
NEWCOMER = NewDevice("1234", Entry.REQUEST, None, None, None, None, ("Hall", "East"), ())
SECURED = NewDevice("1234", Entry.PASSWORD, password(), None, None, None, (), ())
REGISTERED = device("1234", id="device-1234", principal="device_1234")


def create_user(name: str = "bob", **more: Any) -> CreateUser:
    """Return an admin's order for a user of the group and the role that there are."""
    values: dict[str, Any] = {"customer_id": "c1", "groups": ("movers",), "roles": ("digger",)}
    return CreateUser("root", name, secret=password(), **(values | more))


SCENES: dict[type[Command], list[Scene]] = {
    # accounts
    Establish: [scene(Establish(SERVICE, password()))],
    AdmitShared: [scene(AdmitShared(SERVICE, "bootstrap", password()))],
    CreateCustomer: [scene(CreateCustomer("root", "Smith"))],
    ReadCustomer: [scene(ReadCustomer("root", "c1"), rows=[customer()])],
    DeleteCustomer: [scene(DeleteCustomer("root", "c1"), rows=[customer()])],
    CreateUser: [
        scene(create_user(), rows=[customer(), MOVERS, MOVER, DIGGER]),
        # What a new user may do depends on the roles of its groups.
        scene(create_user(roles=()), FindDevice("bob", "Thermostat"), rows=[customer(), MOVERS, MOVER, KNOWN]),
    ],
    ReadUser: [scene(ReadUser("root", "alice"), rows=[user()])],
    UpdateUser: [
        scene(
            UpdateUser("root", "alice", "c2", ("movers",), ("digger",), password()),
            rows=[user(), customer("c2"), MOVERS, MOVER, DIGGER],
        )
    ],
    DeleteUser: [scene(DeleteUser("root", "alice"), rows=[user(), credential("alice")])],
    CreateRole: [scene(CreateRole("root", "mover", ()))],
    CreateGroup: [scene(CreateGroup("root", "movers", ("mover",)), rows=[MOVER])],
    CreateTenant: [scene(CreateTenant("manager", "acme", "Acme"))],
    ListItems: [scene(ListItems("root", Role, 9, None))],
    # devices
    FindDevice: [scene(FindDevice("root", "Thermostat"), rows=[KNOWN])],
    CreateDevice: [
        scene(CreateDevice("root", "new", "default", None, is_gateway=False, secret=secret))
        for secret in (password(), token())
    ],
    ReadDevice: [scene(ReadDevice("root", KNOWN.id), rows=[KNOWN])],
    UpdateDevice: [scene(UpdateDevice("root", KNOWN.id, KNOWN.name, "t", None, is_gateway=True), rows=[KNOWN])],
    DeleteDevice: [scene(DeleteDevice("root", KNOWN.id), rows=[KNOWN])],
    ReadCredentials: [scene(ReadCredentials("root", KNOWN.id), rows=[KNOWN])],
    SetAttributes: [scene(SetAttributes("root", KNOWN.id, (("a", "1"),), None), rows=[KNOWN])],
    ReadAttributes: [scene(ReadAttributes("root", KNOWN.id, ()), rows=[KNOWN])],
    DeleteAttributes: [scene(DeleteAttributes("root", KNOWN.id, ()), rows=[KNOWN])],
    CreateGateway: [scene(CreateGateway("root", "new", password()))],
    BindDevices: [scene(BindDevices("root", "Gateway", ("Thermostat",)), rows=[BOX, KNOWN])],
    ListDevices: [scene(ListDevices("root", 9, None, "", None))],
    ExamineClaiming: [scene(ExamineClaiming("root", KNOWN.id), rows=[KNOWN])],
    # claiming
    type(open_window()): [scene(open_window("new")), scene(open_window(), rows=[KNOWN, allowed(KNOWN)], **STRICT)],
    OpenWindows: [
        scene(
            OpenWindows("Gateway", (WindowEntry("Child", key(), None),), None, redelivered=False),
            rows=[BOX, CHILD],
            **STRICT,
        )
    ],
    ReadSessionLimits: [scene(ReadSessionLimits("Thermostat"), rows=[KNOWN])],
    type(claim_device()): [scene(claim_device(), rows=[customer(), user(), KNOWN, window(KNOWN)])],
    type(release_device()): [
        scene(release_device(), rows=[customer(), user(), OWNED, credential("Thermostat")], **ROTATING)
    ],
    # credentials
    RotateCredentials: [scene(RotateCredentials("root", KNOWN.id, None, None), rows=[KNOWN])],
    RevokeCredentials: [scene(RevokeCredentials("root", KNOWN.id), rows=[KNOWN, credential("Thermostat")])],
    RotateOwnCredentials: [
        scene(RotateOwnCredentials("Thermostat", None), rows=[KNOWN, credential("Thermostat", created_at_ms=0)])
    ],
    # provisioning
    type(save_profile()): [
        scene(save_profile()),
        scene(
            save_profile(profile_id="profile-1", name="other", provision_key=None), rows=[profile()]
        ),  # it cannot be renamed
    ],
    ReadProfile: [scene(ReadProfile("root", "profile-1"), rows=[profile()])],
    DeleteProfile: [scene(DeleteProfile("root", "profile-1"), rows=[profile()])],
    ListProfiles: [scene(ListProfiles("root", 0, 9))],
    type(provision()): [
        scene(provision(wish=this_token()), rows=[profile()], **LIMITED),
        scene(provision(None, any_login()), rows=[profile()]),
        scene(provision(wish=this_token()), rows=[profile(Strategy.CHECK), meter()]),
        scene(provision(wish=this_token()), rows=[profile(Strategy.CHECK), meter(principal="Meter 1")]),
    ],
    # registration
    type(create_request()): [
        scene(create_request(tenant="acme", by="manager"), rows=[Tenant("acme", "Acme", NOW)], **LIMITED),
        # A device may poll and be accepted in the batch that announces it.
        scene(create_request(group_id="hall"), poll(), accept_request(), rows=[HALL, REGISTERED]),
        scene(create_request(), poll(), accept_all(), several_logins=True),
    ],
    ReadRequest: [scene(ReadRequest("root", "1234"), rows=[PENDING])],
    DeleteRequest: [scene(DeleteRequest("root", "1234"), rows=[PENDING])],
    ListRequests: [scene(ListRequests("root", 1, 9, None, with_total=False))],
    ReadLimit: [scene(ReadLimit("root"))],
    type(accept_request()): [
        scene(accept_request(), rows=[request(group_id="hall"), HALL, REGISTERED]),
        scene(accept_request(), rows=[PENDING], several_logins=True, **LIMITED),
    ],
    type(accept_all()): [
        scene(accept_all(), rows=[request(group_id="hall"), HALL, REGISTERED]),
        scene(accept_all(), rows=[PENDING], several_logins=True, **LIMITED),
        scene(poll(), accept_all(), rows=[WAITING]),
    ],
    type(poll()): [
        scene(poll(), rows=[WAITING]),
        scene(poll(), rows=[ACCEPTED, REGISTERED, credential("device_1234")]),
        scene(poll("one-time"), rows=[enrollment(group_id="hall"), HALL, REGISTERED]),
        scene(poll("one-time"), rows=[enrollment()], several_logins=True, **LIMITED),
    ],
    # files
    ImportDevices: [scene(ImportDevices("root", names_tenants=False))],
    RegisterDevices: [
        scene(RegisterDevices("root", (NEWCOMER,)), **LIMITED),
        scene(RegisterDevices("root", (SECURED,)), several_logins=True),
        scene(RegisterDevices("root", (SECURED,)), rows=[REGISTERED]),
    ],
    ImportClaimKeys: [scene(ImportClaimKeys("root"))],
    SetClaimKeys: [
        scene(SetClaimKeys("root", (KeyedDevice("new", key(), None, None, None),), may_replace=False)),
        scene(
            SetClaimKeys("root", (KeyedDevice("new", key(), None, None, None),), may_replace=False),
            rows=[device("new", principal=None)],
        ),
    ],
}


def declared(batch: Iterable[Command], of: Scene, patch: pytest.MonkeyPatch) -> set[str]:
    """Return which needs commands declare, with those that follow from what is loaded."""
    made: list[Needs] = []

    def remember() -> Needs:
        made.append(Needs())
        return made[-1]

    patch.setattr(mapping, "Needs", remember)
    Loading(of.memory, given(**of.policy).policy).load([*batch], ())
    return {each.name for each in fields(Needs) if getattr(made[0], each.name)}


class _Nothing(set[Any]):
    """Keys that are forgotten."""

    def add(self, element: Any) -> None:
        pass

    def update(self, *others: Iterable[Any]) -> None:
        pass

    def append(self, element: Any) -> None:
        pass


class _Forgetful(Needs):
    """Needs of which one is forgotten."""

    def __init__(self, forgotten: str) -> None:
        super().__init__()
        if not isinstance(getattr(self, forgotten), bool):
            setattr(self, forgotten, _Nothing())
        self.forgotten = forgotten

    def __setattr__(self, name: str, value: object) -> None:
        if name != getattr(self, "forgotten", None):
            super().__setattr__(name, value)


def is_missed(forgotten: str, of: Scene, patch: pytest.MonkeyPatch) -> bool:
    """Return whether a batch fails when one of its needs is forgotten."""
    patch.setattr(mapping, "Needs", lambda: _Forgetful(forgotten))
    try:
        decide_batch(of.batch, of.memory, given(**of.policy))
    except NotAskedError:
        return True
    return False


def test_every_command_has_a_scene() -> None:
    """So that none of them has needs nobody looked at."""
    assert SCENES.keys() == RULES.keys()


ALL = [(kind, of) for kind, scenes in SCENES.items() for of in scenes]


@pytest.mark.parametrize(("kind", "of"), ALL, ids=[kind.__name__ for kind, _ in ALL])
def test_every_scene_is_allowed(kind: type[Command], of: Scene) -> None:
    """Each command of a scene gets to its rule."""
    assert kind in set(map(type, of.batch))
    decisions: list[Decision] = decide_batch(of.batch, of.memory, given(**of.policy))
    refused = [each.outcome for each in decisions if isinstance(each.outcome, Refused)]
    assert Reason.NOT_PERMITTED not in {each.reason for each in refused}, refused


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_no_need_is_superfluous_or_forgotten(kind: type[Command]) -> None:
    """Each declared need is necessary in one of the command's scenes: without it the rule gets an error."""
    superfluous: set[str] = set()
    missed: set[str] = set()
    for of in SCENES[kind]:
        own = [command for command in of.batch if type(command) is kind]
        with pytest.MonkeyPatch.context() as patch:
            for name in declared(own, of, patch):
                (missed if is_missed(name, of, patch) else superfluous).add(name)
    assert superfluous - missed == set()


def test_an_unknown_key_is_an_error() -> None:
    """Also where the rule asks for one thing only."""
    known = Loading(facts(admin(), KNOWN), given().policy).load([FindDevice("root", "Thermostat")], ())
    with pytest.raises(NotAskedError):
        rules.decide(FindDevice("root", "another"), known, given())
