"""A row of each kind that belong together, and how to read them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from claimsvc.core.command import Command
from claimsvc.core.decision import Listing
from claimsvc.core.facts import Facts, Needs, NotAskedError
from claimsvc.core.model import (
    Answered,
    Attribute,
    ClaimAttempts,
    Credential,
    CredentialKind,
    Device,
    DeviceGroup,
    DeviceGroupMember,
    DeviceProfile,
    DeviceRequest,
    EndedPrincipal,
    FormerCredential,
    Group,
    Import,
    ImportPart,
    Principal,
    PrincipalKind,
    RequestStatus,
    Role,
    Row,
    Strategy,
    Tenant,
    UserFailures,
    WindowSource,
)
from claimsvc.core.policy import Policy
from claimsvc.store.contract import Store
from tests.support.factories import NOW, customer, device, given, user, window
from tests.support.stores import query


@dataclass(frozen=True, slots=True)
class Want(Command):
    """Ask for everything there is about some names."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.tenants.add("default")
        needs.customers.add("c1")
        needs.users.add("alice")
        needs.principals.update(("alice", "Thermostat", "Gateway"))
        needs.groups.add(("default", "claimers"))
        needs.roles.add(("default", "mover"))
        needs.device_names.update((("default", "Thermostat"), ("default", "Gateway")))
        needs.device_ids.add("device-Thermostat")
        needs.logins.add("Thermostat")
        needs.requests.add("1234")
        needs.profile_ids.add("profile-1")
        needs.device_groups.add(("default", "Halle/Süd"))
        needs.attempts_at.add(("alice", "default", "Thermostat"))
        needs.windows = needs.attributes = needs.credentials = True


WANT = Want("alice")
DEFAULT = Tenant("default", "Default tenant", NOW)
GATEWAY = device("Gateway", is_gateway=True)
THERMOSTAT = device(owner="c1", gateway_id=GATEWAY.id, type="sensor", label="Flur ü", claimed_at_ms=NOW + 1)
ALICE = user(roles=("customer", "mover"), groups=("claimers",))
CREDENTIAL = Credential("Thermostat", "Thermostat", CredentialKind.PASSWORD, "$7$h", "sealed", NOW, NOW)
PROFILE = DeviceProfile("profile-1", "default", "sensor", Strategy.CREATE, "key-1", "hash", NOW)
GROUP = DeviceGroup("group-1", "default", "Halle/Süd", NOW)
IMPORT = Import("claimsvc/u/alice/", "2", "digest", 400, 390, 6, 4, NOW)
FORMER = FormerCredential("Thermostat", "$7$former", NOW + 3_600_000)
EVERYTHING: tuple[Row, ...] = (
    DEFAULT,
    Principal("alice", PrincipalKind.USER, "default"),
    Principal("Thermostat", PrincipalKind.DEVICE, "default"),
    Principal("Gateway", PrincipalKind.DEVICE, "default"),
    EndedPrincipal("alice", NOW),
    customer(),
    Role("default", "mover", ("DEVICE:CLAIM_DEVICES", "ROLE_DEVICE_CONTROL_READ")),
    Group("default", "claimers", ("customer", "mover")),
    ALICE,
    GATEWAY,
    THERMOSTAT,
    CREDENTIAL,
    window(THERMOSTAT, attempts=3),
    window(THERMOSTAT, "other", source=WindowSource.SERVER),
    Attribute(THERMOSTAT.id, "claimingAllowed", "true", NOW),
    ClaimAttempts("alice", THERMOSTAT.id, 3, 1, NOW + 5, NOW),
    UserFailures("alice", (NOW - 1, NOW), 2, NOW + 9),
    DeviceRequest(
        "1234",
        "default",
        RequestStatus.PENDING_ACCEPTANCE,
        "root",
        NOW,
        "5",
        "c8y_Sensor",
        '{"a":1}',
        "c/bootstrap/1234/",
        "token",
        2,
        contested=True,
        enrollment_hash="one-time",
        enrollment_until_ms=NOW + 9,
        issued_at_ms=NOW + 1,
    ),
    GROUP,
    DeviceGroupMember(GROUP.id, THERMOSTAT.id),
    IMPORT,
    ImportPart(*IMPORT.key, 200, "sealed part"),
    Answered("claimsvc/u/alice/", "1", "digest", "sealed", NOW + 600_000),
    PROFILE,
    FORMER,
)
CHANGED: dict[str, Row] = {
    "a tenant": replace(DEFAULT, title="Other"),
    "a role": Role("default", "mover", ()),
    "a group": Group("default", "claimers", ("viewer",)),
    "an ended principal": EndedPrincipal("alice", NOW + 1),
    "a user": replace(ALICE, customer_id=None, roles=(), groups=()),
    "a device": replace(THERMOSTAT, owner=None, gateway_id=None, label=None, claimed_at_ms=None),
    "a credential": replace(CREDENTIAL, secret_hash="$7$other", sealed=None, revoked_at_ms=NOW),
    "a former credential": replace(FORMER, until_ms=NOW + 1),
    "a window": window(THERMOSTAT, "new", expires_at_ms=NOW + 7),
    "an attribute": Attribute(THERMOSTAT.id, "claimingAllowed", "false", NOW + 1),
    "attempts": ClaimAttempts("alice", THERMOSTAT.id, 0, 2, NOW + 6, NOW + 1),
    "failures": UserFailures("alice", (), 3, NOW + 10),
    "a request": DeviceRequest("1234", "default", RequestStatus.BLOCKED, "root", NOW, "5", "c8y_Sensor", '{"a":1}'),
    "a profile": replace(PROFILE, strategy=Strategy.CHECK, provision_key="key-2", secret_hash="other"),
    "a file at work": replace(IMPORT, done=600, created=500, updated=60, failed=40, touched_at_ms=NOW + 1),
    "an answer": Answered("claimsvc/u/alice/", "1", "other", "other", NOW + 700_000),
}


async def load(store: Store, rows: Sequence[Row] = EVERYTHING) -> list[Row | None]:
    """Return these rows as they are read again."""
    facts = await store.read([WANT], given().policy, [("claimsvc/u/alice/", "1")])
    if (at_work := await store.read_import(*IMPORT.key)) is not None:  # no rule reads these
        facts.put(at_work)
    for number, sealed in enumerate(await store.read_import_parts(*IMPORT.key), start=1):
        facts.put(ImportPart(*IMPORT.key, 200 * number, sealed))
    for member in (await query(store, Listing(Device, "default", 9, None, prefix="", group_id=GROUP.id))).items:
        assert isinstance(member, Device)
        facts.put(DeviceGroupMember(GROUP.id, member.id))
    return [_known(facts, row) for row in rows]


def _known(facts: Facts, row: Row) -> Row | None:
    """Return the row as it was loaded; None also if its owner is gone, so that it was not looked up."""
    try:
        return facts.get(type(row), row.key)
    except NotAskedError:
        return None
