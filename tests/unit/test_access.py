from __future__ import annotations

from dataclasses import replace

import pytest

from claimsvc.core.accounts import UpdateUser
from claimsvc.core.claiming import OpenWindows, ReadSessionLimits
from claimsvc.core.command import Command
from claimsvc.core.decision import Refused
from claimsvc.core.model import Group, Role, Row
from claimsvc.core.permissions import BUILT_IN_ROLES, GRANTABLE, MANAGE_TENANTS, TENANT_ADMIN, permissions
from claimsvc.core.reasons import Reason
from claimsvc.core.rules import RULES
from tests.support.factories import (
    SERVICE,
    admin,
    claim_device,
    customer,
    device,
    facts,
    given,
    open_window,
    refused,
    result,
    user,
    window,
)
from tests.support.memory import decide, decide_batch
from tests.unit.test_needs import SCENES

CLAIM = "DEVICE:CLAIM_DEVICES"


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        pytest.param("customer", {CLAIM}, id="customers claim"),
        pytest.param("operator", {"ROLE_DEVICE_CONTROL_ADMIN", "ROLE_DEVICE_CONTROL_READ"}, id="operators accept"),
        pytest.param("viewer", {"ROLE_DEVICE_CONTROL_READ"}, id="viewers look"),
        pytest.param("bootstrap", {"ROLE_DEVICE_BOOTSTRAP"}, id="bootstrap asks"),
        pytest.param("admin", set(GRANTABLE), id="admins do everything in their tenant"),
        pytest.param("unknown", set(), id="a role nobody knows grants nothing"),
    ],
)
def test_built_in_roles(role: str, expected: set[str]) -> None:
    """The built-in roles grant these permissions and no others."""
    assert permissions(facts(user(roles=(role,))), "alice") == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([user(roles=())], set(), id="no roles"),
        pytest.param([user(roles=("customer", "viewer"))], {CLAIM, "ROLE_DEVICE_CONTROL_READ"}, id="two roles"),
        pytest.param(
            [user(roles=(), groups=("g",)), Group("default", "g", ("customer",))],
            {CLAIM},
            id="a group's role",
        ),
        pytest.param(
            [user(roles=(), groups=("g",)), Group("default", "g", ("r",)), Role("default", "r", (CLAIM,))],
            {CLAIM},
            id="a group's own role",
        ),
        pytest.param([user(roles=("r",)), Role("default", "r", (CLAIM,))], {CLAIM}, id="a role of the tenant"),
        pytest.param([user(roles=("r",)), Role("acme", "r", (CLAIM,))], set(), id="another tenant's role"),
        pytest.param(
            [user(roles=(), groups=("g",)), Group("acme", "g", ("customer",))],
            set(),
            id="another tenant's group",
        ),
        pytest.param(
            [user(roles=("customer",)), Role("default", "customer", (TENANT_ADMIN,))],
            {CLAIM},
            id="a stored role does not replace a built-in one",
        ),
        pytest.param([device("alice")], set(), id="a device"),
        pytest.param([], set(), id="whom nobody knows"),
    ],
)
def test_permissions_come_through_roles_and_groups(rows: list[Row], expected: set[str]) -> None:
    """Permissions are the union over direct roles and groups' roles, within the tenant."""
    assert permissions(facts(*rows), "alice") == expected


@pytest.mark.parametrize(
    ("tenant", "roles", "manages"),
    [
        ("management", ("admin",), True),
        ("default", ("admin",), False),
        ("acme", ("admin",), False),
        ("management", ("operator",), False),
    ],
)
def test_only_managements_admins_manage_tenants(tenant: str, roles: tuple[str, ...], *, manages: bool) -> None:
    """Managing tenants comes with the admin role in the management tenant, and with no role elsewhere."""
    granted = permissions(facts(user(tenant=tenant, roles=roles)), "alice")
    assert (MANAGE_TENANTS in granted) is manages


def test_managing_tenants_is_never_granted() -> None:
    """No role, built in or made, may hold it."""
    assert MANAGE_TENANTS not in GRANTABLE.union(*BUILT_IN_ROLES.values())


def test_service_may_everything() -> None:
    """The service's own commands, at its first start, are refused nothing."""
    assert permissions(facts(), SERVICE) == {*GRANTABLE, MANAGE_TENANTS}


def test_role_taken_away_counts_for_the_next_command() -> None:
    """Within one batch, who lost the role is refused."""
    known = facts(admin(), customer(), user(), device(), window(device()))
    loses = UpdateUser("root", "alice", None, None, (), None)
    first, _, second = decide_batch([claim_device(text="wrong"), loses, claim_device()], known, given())
    assert [result(first), result(second)] == [Reason.WRONG_KEY, Reason.NOT_PERMITTED]
    assert permissions(known, "alice") == set()


@pytest.mark.parametrize("caller", ["bootstrap", "provision"])
@pytest.mark.parametrize("existing", [True, False])
def test_bootstrap_and_provision_have_no_lane(caller: str, *, existing: bool) -> None:
    """No message in their u lane is executed, whatever the store knows of them."""
    known = facts(*([admin(caller)] if existing else []))
    commands: list[Command] = [
        open_window(caller),
        OpenWindows(caller, (), None, redelivered=False),
        ReadSessionLimits(caller),
        claim_device(by=caller),
    ]
    outcomes = [result(decide(command, known, given())) for command in commands]
    assert outcomes == [Reason.NOT_PERMITTED] * len(commands)


@pytest.mark.parametrize(
    "kind", [kind for kind, rule in RULES.items() if rule.permissions], ids=lambda kind: kind.__name__
)
def test_u8_a_refusal_names_the_missing_permission(kind: type[Command]) -> None:
    """Whatever was asked, and a built-in role that has it, where one does."""
    command = replace(SCENES[kind][0].batch[-1], caller="alice")
    outcome = decide(command, facts(user(roles=())), given()).outcome
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.NOT_PERMITTED
    assert any(permission in outcome.message for permission in RULES[kind].permissions)
    has_role = any(granted & RULES[kind].permissions for granted in BUILT_IN_ROLES.values())
    assert ("which the role" in outcome.message) is has_role


def test_u8_a_claim_without_the_permission_names_it() -> None:
    """With the role to give."""
    outcome = refused(Reason.NOT_PERMITTED, facts(user(roles=()), device()), claim_device())
    assert outcome.detail == "it needs the permission DEVICE:CLAIM_DEVICES, which the role customer has"
