from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from types import ModuleType
from typing import get_args

import pytest

import claimsvc.core
from claimsvc.app import SECTIONS, lanes_of
from claimsvc.core import (
    accounts,
    bulk,
    claiming,
    credentials,
    devices,
    inventory,
    permissions,
    provisioning,
    registration,
)
from claimsvc.core.command import Command
from claimsvc.core.model import Row
from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.core.rules import RULES
from claimsvc.dialects import admin, cumulocity
from claimsvc.dialects.rest import DEEPEST_PATH, Route, Section
from claimsvc.dialects.thingsboard import claim_topics, provision_topic
from claimsvc.dialects.thingsboard.device_calls import STATUSES
from claimsvc.settings import Settings
from claimsvc.store.mapping import TABLES

ROUTES = [route for section in SECTIONS for route in section.routes]
FEATURES = [accounts, bulk, claiming, credentials, devices, inventory, provisioning, registration]


def _commands() -> set[type[Command]]:
    """Return every concrete command; those no dialect can make begin with an underscore or say On..."""
    package = claimsvc.core
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    found: set[type[Command]] = set()
    waiting: list[type[Command]] = [Command]
    while waiting:
        below = waiting.pop().__subclasses__()
        # A class with slots is made twice; only the second stands in its module.
        found.update(
            kind for kind in below if getattr(importlib.import_module(kind.__module__), kind.__name__) is kind
        )
        waiting += below
    ours = {kind for kind in found if kind.__module__.startswith(package.__name__)}
    return {kind for kind in ours if not kind.__name__.startswith("On")}


def test_every_command_has_a_rule() -> None:
    """There is no command nobody decides, and no rule for what nobody can ask."""
    assert _commands() == set(RULES)


def _documented(feature: ModuleType) -> dict[str, frozenset[str]]:
    """Return the table in a module's docstring: each command with its permissions."""
    rows = re.findall(r"(?m)^(\w+) *\| ([^|]+?) *\| [^|]+$", feature.__doc__ or "")
    return {
        command: frozenset(getattr(permissions, name) for name in re.findall(r"[A-Z_]{3,}", who))
        for command, who in rows
        if command != "command"
    }


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.__name__.rpartition(".")[2])
def test_the_table_in_the_docstring_has_the_rules(feature: ModuleType) -> None:
    """The table of a feature names all its commands, and the permissions that each needs."""
    assert _documented(feature) == {command.__name__: rule.permissions for command, rule in feature.RULES.items()}


def test_every_rule_belongs_to_a_feature() -> None:
    """No module has rules that the test above does not check."""
    assert {command for feature in FEATURES for command in feature.RULES} == set(RULES)


@pytest.mark.parametrize(
    "table",
    [
        MESSAGES,
        STATUSES,
        provision_topic.STATUSES,
        admin.STATUSES,
        cumulocity.ERRORS,
    ],
    ids=["a text", "a ThingsBoard status", "a provisioning status", "a status of ours", "a Cumulocity error"],
)
def test_every_reason_has(table: dict[Reason, object]) -> None:
    """A reason without an answer would be an internal error."""
    assert set(table) == set(Reason)


def test_every_text_says_something() -> None:
    """Reasons have different codes and texts, so that a person can tell them apart."""
    assert len(set(MESSAGES.values())) == len(Reason)
    assert all(MESSAGES.values())


@pytest.mark.parametrize("reason", Reason)
def test_refusals_are_answered_as_failures(reason: Reason) -> None:
    """No refusal looks like a success anywhere."""
    assert 400 <= STATUSES[reason][0] < 600
    assert 400 <= admin.STATUSES[reason] < 600
    assert 400 <= cumulocity.ERRORS[reason][0] < 600
    assert provision_topic.STATUSES[reason] != "SUCCESS"


def _shape(route: Route) -> tuple[str, ...]:
    variables = ("{}" if segment.startswith("{") else segment for segment in route.segments)
    return (route.method, *variables)


def test_every_call_is_routed_to_one_place() -> None:
    """No two routes have the same method and path, whatever their variables are called."""
    twice = [shape for shape, count in Counter(map(_shape, ROUTES)).items() if count > 1]
    assert twice == []


def test_no_variable_hides_a_word() -> None:
    """A path of words is never taken for a variable of a route before it, with the same method."""
    hidden = [
        (one.path, other.path)
        for position, one in enumerate(ROUTES)
        for other in ROUTES[position + 1 :]
        if one.method == other.method
        and len(one.segments) == len(other.segments)
        and all(a == b or a.startswith("{") for a, b in zip(one.segments, other.segments, strict=True))
    ]
    assert hidden == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_listened_for(route: Route) -> None:
    """The service subscribes to the depth of every route, with filters of exact depth."""
    assert len(route.segments) <= DEEPEST_PATH
    levels = 5 + len(route.segments)  # claimsvc/u/<principal>/request/<id>/<METHOD>: six, less the path's first
    depths = {len(each.split("/")) for each in lanes_of(Settings()).filters if "/request/+/+" in each}
    assert levels + 1 in depths


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.prefix)
def test_routes_lie_below_their_section(section: object) -> None:
    """A section's refusals are worded for its own paths."""
    assert isinstance(section, Section)
    assert all(route.path.startswith(section.prefix) for route in section.routes)


def test_filters_have_an_exact_depth() -> None:
    """No subscription has a `#`, through which a client could shift a topic."""
    filters = lanes_of(Settings()).filters
    assert [each for each in filters if "#" in each] == []
    assert len(filters) == len(set(filters))


@pytest.mark.parametrize(
    "topic", [*claim_topics.CLAIM_TOPICS, claim_topics.GATEWAY_TOPIC, "v1/devices/me/rpc/request/+"]
)
def test_device_topics_are_listened_for(topic: str) -> None:
    """Every topic of devices and gateways is subscribed to, in every lane."""
    assert f"claimsvc/u/+/{topic}" in lanes_of(Settings()).filters


def test_every_row_has_a_table() -> None:
    """What the rules can write, the store can keep."""
    assert set(TABLES) == set(get_args(Row))


def test_every_rule_names_what_it_is_called() -> None:
    """The log's name of a route is a command's name."""
    assert {route.name for route in ROUTES} <= {kind.__name__ for kind in RULES}
