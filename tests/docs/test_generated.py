"""What the documents say of the code is what the code says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimsvc.app import SECTIONS, lanes_of
from claimsvc.dialects.message import AnswerTails, Inbound, Request
from claimsvc.dialects.rest import Route
from claimsvc.settings import Settings
from docs.generator import asyncapi, metrics, parts, rest, samples, settings

SECTIONS_OF_SETTINGS: dict[str, Any] = settings.sections()
ROUTES = [route for section in SECTIONS for route in section.routes]
CLAIM = next(endpoint for endpoint in lanes_of(Settings()).endpoints if endpoint.filter == "v1/devices/me/claim")
DOCUMENT = json.loads(asyncapi.document())
WITHOUT_BODY = {"AcceptAll"}
"""Calls with POST or PUT that need no body."""


def test_an_answer_with_two_topics_has_two_channels() -> None:
    """A dialect whose refusals have a topic of their own has its answers where they are."""

    def read(inbound: Inbound) -> Request:
        request = CLAIM.read(inbound)
        request.answer_tail = AnswerTails("shadow/accepted", "shadow/rejected")
        return request

    described = asyncapi.Document()
    asyncapi.describe_topic(described, replace(CLAIM, filter="shadow", read=read))
    messages = {
        channel["address"].rpartition("/")[2]: set(channel["messages"]) for channel in described.channels.values()
    }
    assert messages["accepted"] == {"OpenWindowAnswer"}
    assert messages["rejected"] == {"OpenWindowRefusal"}


def test_nothing_is_stale() -> None:
    """`scripts/docs` writes what is; a change of the code without it fails here."""
    assert [str(path.relative_to(parts.ROOT)) for path in parts.stale()] == []


def test_every_part_is_somewhere() -> None:
    """No part is made for nobody."""
    texts = "".join(path.read_text() for path in parts.documents())
    assert [name for name in parts.PARTS if f"<!-- generated: {name} -->" not in texts] == []


@pytest.mark.parametrize("section", SECTIONS_OF_SETTINGS)
def test_every_setting_has_a_description(section: str) -> None:
    """It stands below the setting, in the code."""
    model = SECTIONS_OF_SETTINGS[section]
    assert set(settings.descriptions(model)) == set(model.model_fields)


def test_the_settings_file_to_copy_has_every_setting_with_its_default() -> None:
    """What is commented out shows the default; what is not is there to be changed."""
    text = (parts.ROOT / "config" / "claimsvc.toml").read_text()
    shown = tomllib.loads(re.sub(r"(?m)^#(\w+ = )", r"\1", text))
    assert shown.keys() == Settings.model_fields.keys()
    known = {(section, key) for section, model in SECTIONS_OF_SETTINGS.items() for key in model.model_fields}
    assert known - {(section, key) for section in SECTIONS_OF_SETTINGS for key in shown[section]} == {
        ("mqtt", "password")
    }
    commented = re.sub(r"(?m)^(\w+ = )", r"# \1", text)
    shown = tomllib.loads(re.sub(r"(?m)^#(\w+ = )", r"\1", commented))
    defaults = Settings().model_dump(mode="json")
    examples = {"password_path", "tls_ca", "tls_certificate", "tls_key", "reload_command"}
    differing = [
        (section, key)
        for section in SECTIONS_OF_SETTINGS
        for key, value in shown[section].items()
        if key not in examples and defaults[section][key] != value
    ]
    assert differing == []


@pytest.mark.parametrize("document", parts.documents(), ids=lambda path: path.name)
def test_what_a_document_names_exists(document: Path) -> None:
    """Settings by their key, and metrics by their name as Prometheus shows it."""
    text = document.read_text()
    sections = "|".join(SECTIONS_OF_SETTINGS)
    named = set(re.findall(rf"`((?:{sections})\.[a-z_0-9]+)(?: = [^`]*)?`", text))
    known = {f"{section}.{key}" for section, model in SECTIONS_OF_SETTINGS.items() for key in model.model_fields}
    assert {each for each in named if not each.endswith(".py")} - known == set()
    series = set(re.findall(r"`(claimsvc_[a-z_]+)`", text))
    assert series - set(re.findall(r"`(claimsvc_\w+)`", metrics.table())) == set()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_call_that_changes_something_shows_its_body(route: Route) -> None:
    """A POST or PUT without one is listed above."""
    assert bool(rest.body_of(route)) == (route.method in {"POST", "PUT"} and route.name not in WITHOUT_BODY)


def test_asyncapi_has_every_filter() -> None:
    """Whatever the service listens on is a channel; the filters of REST are there call by call."""
    addresses = [re.sub(r"\{\w+\}", "+", each["address"]) for each in DOCUMENT["channels"].values()]
    of_topics = {each for each in lanes_of(Settings()).filters if "/request/+/+" not in each}
    lanes = {each: f"claimsvc/c/{each.login}" if each.login else "claimsvc/u" for each in ROUTES}
    of_calls = {f"{lane}/+/request/+/{each.method}{re.sub(r'{.*?}', '+', each.path)}" for each, lane in lanes.items()}
    assert (of_topics | of_calls) - set(addresses) == set()


def test_every_request_of_asyncapi_has_a_schema_or_says_why_not() -> None:
    """Only what the service does not read has none: polls, listings, deletions."""
    operations = [each for each in DOCUMENT["operations"].values() if each["action"] == "receive"]
    requests = {each["summary"]: _resolve(each["messages"][0]["$ref"]) for each in operations}
    changing = [text for text in requests if re.match(r"(POST|PUT) (?!.*/acceptAll)|thingsboard", text)]
    assert [text for text in changing if "payload" not in requests[text]] == []


def test_every_sample_is_of_a_command() -> None:
    """What is shown is what can be asked."""
    assert set(samples.OUTCOMES) - set(rest.PERMISSIONS) == set()


def test_every_answer_of_asyncapi_has_an_example() -> None:
    """Made by the encoder itself."""
    operations = [each for each in DOCUMENT["operations"].values() if each["action"] == "receive"]
    answers = [_resolve(each["$ref"]) for operation in operations for each in operation["reply"]["messages"]]
    assert [each["name"] for each in answers if not each["examples"]] == []


def _resolve(reference: str) -> Any:
    node = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="AsyncAPI's parser needs node and npm")
def test_asyncapi_is_valid() -> None:
    """AsyncAPI's own parser finds no error in the document."""
    command = [str(parts.ROOT / "scripts" / "docs"), "--validate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid, with" in done.stdout
