"""Metrics as Prometheus scrapes them, and the alert rules that stand on them."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from claimsvc import __version__
from tests.support.clients import Admin, Client, fresh
from tests.support.processes import PATIENCE_S, World, free_port

Scrape = Callable[[], dict[tuple[str, frozenset[tuple[str, str]]], float]]
ROOT = Path(__file__).parents[2]
OPEN = {"secretKey": "value", "durationMs": 600_000}


def metrics_of(port: int) -> str:
    """Return what Prometheus is told."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
        return text


@pytest.fixture(scope="module")
def port() -> int:
    """The metrics' port."""
    return free_port()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[World]:
    """A world that offers its metrics."""
    world = World(tmp_path_factory.mktemp("watched"), CLAIMSVC_METRICS__PORT=str(port)).start()
    yield world
    world.stop()


@pytest.fixture
def scrape(port: int) -> Scrape:
    """Read all samples, as (name, labels) -> value."""

    def scrape() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = text_string_to_metric_families(metrics_of(port))
        return {
            (each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples
        }

    return scrape


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return a sample's key."""
    return f"claimsvc_{name}", frozenset(labels.items())


def test_what_happens_is_counted(watched: World, scrape: Scrape) -> None:
    """Each request under the dialect whose it is, its audit event, its latency; and the store's gauges are there."""
    before = scrape()
    name = fresh("counted")
    with (
        Admin(watched.port, watched.accounts["admin"]) as admin,
        Client(watched.port, admin.make_device(name)) as device,
        Client(watched.port, watched.accounts["customer"]) as customer,
    ):
        device.open_window(OPEN)
        assert customer.claim(name, "wrong").body == "FAILURE"
        assert customer.claim(name).body["response"] == "SUCCESS"
        admin.call("GET", "/devicecontrol/newDeviceRequests")
        admin.call("GET", "/claimsvc/users")
    after = scrape()

    def grown(name: str, **labels: str) -> float:
        return after.get(key(name, **labels), 0) - before.get(key(name, **labels), 0)

    def handled(dialect: str, command: str, outcome: str = "done", reason: str = "") -> float:
        return grown("requests_total", dialect=dialect, command=command, outcome=outcome, reason=reason)

    assert handled("thingsboard", "OpenWindow") == 1
    assert handled("thingsboard", "ClaimDevice", "refused", "wrong_key") == 1
    assert handled("thingsboard", "ClaimDevice") == 1
    assert handled("cumulocity", "ListRequests") == 1
    assert handled("claimsvc", "ListItems") == 1
    assert grown("audit_events_total", event="device_claimed") == 1
    assert grown("audit_events_total", event="claim_refused") == 1
    assert grown("request_seconds_count") == 7
    assert after[key("request_seconds_bucket", le="30.0")] == after[key("request_seconds_count")]
    assert after[key("store_readable")] == 1
    assert after[key("database_bytes")] > 0
    assert {after[key("connected")], after[key("connections_total")]} == {1}
    assert after[key("waiting_requests")] == after[key("waiting_bytes")] == after[key("logins_behind")] == 0
    assert after[key("build_info", version=__version__)] == 1


def test_a_reconnect_is_counted(watched: World, scrape: Scrape) -> None:
    """With why the connection was lost."""
    before = scrape()
    watched.broker.stop()
    watched.service.wait_for("broker_lost")
    assert scrape()[key("connected")] == 0
    watched.broker.start()
    watched.service.wait_for("broker_connected")
    after = scrape()
    assert after[key("connected")] == 1
    assert after[key("connections_total")] == before[key("connections_total")] + 1
    assert after[key("connection_failures_total", cause="broker_lost")] >= 1


def test_every_alert_stands_on_a_metric_there_is(watched: World, scrape: Scrape) -> None:
    """A name misspelt in a rule would never fire; each metric of ours in the rules is one the service offers."""
    rules = (ROOT / "config" / "alerts.yml").read_text()
    named = set(re.findall(r"\bclaimsvc_[a-z0-9_]+", rules))
    offered = {name for name, _ in scrape()}
    offered |= {name.removesuffix("_count") for name in offered}  # a histogram by its own name
    assert named
    # Requests have no sample until the first of their kind is counted.
    assert named - offered == {"claimsvc_requests_total"} - offered


def test_what_an_alert_waits_for_is_counted_from_zero(tmp_path: Path) -> None:
    """Prometheus sees a counter grow only when it has seen it before: the first of these must not be missed."""
    rules = (ROOT / "config" / "alerts.yml").read_text()
    labelled = set(re.findall(r'increase\((claimsvc_\w+)\{(\w+)="(\w+)"\}', rules))
    assert labelled
    world = World(tmp_path, CLAIMSVC_METRICS__PORT=str(free_port())).start()
    try:
        text = metrics_of(int(world.service.environment["CLAIMSVC_METRICS__PORT"]))
    finally:
        world.stop()
    for name, label, value in labelled:
        assert f'{name}{{{label}="{value}"}} 0.0' in text
