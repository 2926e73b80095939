"""The AsyncAPI 3 document: every channel and message, from the endpoints and routes of the service."""

from __future__ import annotations

import json
import re
from typing import Any

from claimsvc import __version__
from claimsvc.app import SECTIONS, lanes_of
from claimsvc.core.command import Command
from claimsvc.dialects import admin, sheets
from claimsvc.dialects.message import CLIENTS, USERS, Endpoint, Inbound
from claimsvc.dialects.rest import PREFIX, Call, Route, Section
from claimsvc.mqtt.lanes import Lanes
from claimsvc.settings import Settings
from docs.generator import samples, schemas
from docs.generator.rest import PERMISSIONS

Node = dict[str, Any]
Answer = tuple[str, dict[str, Node]]
"""The address of an answer, and the messages that it can be."""

ROOT = Settings().mqtt.root


def _lane_of(login: str | None) -> str:
    """Return the lane of a principal, or of a client of a shared login."""
    return f"{ROOT}/{USERS}/{{username}}/" if login is None else f"{ROOT}/{CLIENTS}/{login}/{{clientId}}/"


PARAMETERS = {
    "username": "The username of the client's login: its principal, one topic level.",
    "clientId": "The client's id, percent-encoded if it cannot be one topic level.",
    "requestId": "1 to 64 of A-Z a-z 0-9 . _ ~ -; use a random one for every request.",
    "tenant": "The tenant that the event belongs to.",
    "event": "The name of the audit event.",
}
_FILE = {"contentType": "text/csv", "payload": {"type": "string"}}
_ANY_SEGMENT = "One segment of the path, percent-encoded."
_AT_LEAST_ONCE = {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}}
_AT_MOST_ONCE = {"mqtt": {"qos": 0, "retain": False, "bindingVersion": "0.2.0"}}
_RETAINED = {"mqtt": {"qos": 1, "retain": True, "bindingVersion": "0.2.0"}}
_DESCRIPTION = (
    "claimsvc turns a Mosquitto broker into a back end for claiming and registering devices. The operations are "
    "those of the service: it receives requests in the lanes of its clients, and sends answers and notices into "
    "them. With the broker's plugin, a device leaves out its lane in its topics."
)
_LOGIN = {"type": "userPassword", "description": "A login that claimsvc issued; the username is the lane."}


class Document:
    """The channels and operations that are described so far."""

    def __init__(self) -> None:
        self.channels: Node = {}
        self.operations: Node = {}

    def channel(self, address: str) -> str:
        """Return the id of the channel of an address; create the channel if it is new."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", address.removeprefix(ROOT)).strip("_")
        variables = re.findall(r"\{(\w+)\}", address)
        parameters = {each: {"description": PARAMETERS.get(each, _ANY_SEGMENT)} for each in variables}
        fresh: Node = {"address": address, "messages": {}} | ({"parameters": parameters} if parameters else {})
        self.channels.setdefault(name, fresh)
        return name

    def message(self, channel: str, name: str, message: Node) -> Node:
        """Put a message on a channel and return the reference to it."""
        self.channels[channel]["messages"][name] = {"name": name, **message}
        return {"$ref": f"#/channels/{channel}/messages/{name}"}

    def exchange(
        self, name: str, summary: str, request: tuple[str, Node], answer: Answer, plain: tuple[str, str] | None = None
    ) -> None:
        """Describe a received request and the messages that can answer it."""
        asked, told = self.channel(request[0]), self.channel(answer[0])
        replies = [self.message(told, each, message) for each, message in answer[1].items()]
        if plain is not None:
            self.channels[asked]["description"] = f"With the broker's plugin also on the plain topic `{plain[0]}`."
            self.channels[told]["description"] = f"To a client that used the plain topic also on `{plain[1]}`."
        name = self._operation(name)
        self.operations[name] = {
            "action": "receive",
            "summary": summary,
            "channel": {"$ref": f"#/channels/{asked}"},
            "messages": [self.message(asked, f"{name}Request", request[1])],
            "reply": {"channel": {"$ref": f"#/channels/{told}"}, "messages": replies},
            "bindings": _AT_LEAST_ONCE,
        }

    def notice(self, name: str, summary: str, address: str, payload: bytes, bindings: Node) -> None:
        """Describe a message that is not an answer."""
        channel = self.channel(address)
        self.operations[name] = {
            "action": "send",
            "summary": summary,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [self.message(channel, name, _seen(payload))],
            "bindings": bindings,
        }

    def _operation(self, name: str) -> str:
        taken = [each for each in self.operations if re.fullmatch(rf"{name}\d*", each)]
        return f"{name}{len(taken) + 1}" if taken else name


def document() -> str:
    """Return the document as JSON."""
    described = Document()
    dialects = lanes_of(Settings())
    for endpoint in dialects.endpoints:
        if not endpoint.filter.startswith(PREFIX):
            describe_topic(described, endpoint)
    for section in SECTIONS:
        for route in section.routes:
            _route(described, section, route)
    _notices(described, dialects)
    whole = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "claimsvc",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "127.0.0.1:1883",
                "protocol": "mqtt",
                "description": "Your Mosquitto broker.",
                "security": [{"$ref": "#/components/securitySchemes/login"}],
            }
        },
        "channels": described.channels,
        "operations": described.operations,
        "components": {
            "schemas": schemas.COMPONENTS,
            "securitySchemes": {"login": _LOGIN},
        },
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def describe_topic(described: Document, endpoint: Endpoint) -> None:
    """Describe a topic of a device or gateway."""
    tail = endpoint.filter.replace("+", "1")
    reading = endpoint.read(
        Inbound(tail, b"", 0, 0, 1, 0.0, caller="Thermostat", client_id="1234", lane="u/Thermostat/", tail=tail)
    )
    lane = _lane_of(endpoint.login)
    outcomes = {"Answer": samples.outcome_of(reading.name, None), "Refusal": samples.REFUSED}
    summary = f"{endpoint.dialect}: {_words(reading.name)}"
    asked = (lane + endpoint.filter.replace("+", "{requestId}"), _request(reading.name, endpoint.read))
    for answer_tail in reading.answer_tails:
        payloads = {
            f"{reading.name}{name}": reading.encode(outcome, samples.NOW_MS)
            for name, outcome in outcomes.items()
            if reading.tail_for(outcome) == answer_tail
        }
        told = {name: _seen(payload) for name, payload in payloads.items() if payload is not None}
        # The last level of the request's topic is also in the answer's topic.
        answer = re.sub("1$", "{requestId}", answer_tail) if "+" in endpoint.filter else answer_tail
        plain = (endpoint.filter, re.sub("1$", "+", answer_tail) if "+" in endpoint.filter else answer)
        described.exchange(_camel(reading.name), summary, asked, (lane + answer, told), plain)


def _route(described: Document, section: Section, route: Route) -> None:
    """Describe a call of REST over MQTT."""
    lane = _lane_of(route.login)
    address = f"{lane}{PREFIX}{{requestId}}/{route.method}{route.path}"
    outcome = samples.outcome_of(route.name, _listing(route))
    try:
        done = route.encode(outcome, samples.NOW_MS)
    except TypeError:
        raise LookupError(f"docs/generator/samples.py has no outcome for {route.name}") from None
    refused = section.refuse(samples.REFUSED, samples.NOW_MS)
    name = _camel(route.name)
    told = {
        f"{name}{word}": _seen(json.dumps({"status": each.status, "body": each.body}).encode())
        for word, each in (("Answer", done), ("Refusal", refused))
    }
    permissions = " or ".join(sorted(PERMISSIONS[route.name])) or "any login"
    summary = f"{route.method} {route.path}: {permissions}"
    asked = (address, _FILE if route.open_sheet else _request(route.name, route.decode))
    described.exchange(name, summary, asked, (f"{lane}response/{{requestId}}", told))


def _listing(route: Route) -> Command | None:
    """Return the command of a listing, which has the kind of the items; None for other routes."""
    return route.decode(Call("admin", "u/admin/", {}, {}, b"")) if route.name == "ListItems" else None


def _notices(described: Document, dialects: Lanes) -> None:
    """Describe notices, audit events and the status of the service."""
    told = {
        "claimState": ("A device was claimed or released.", dialects.notice(samples.CLAIM_NOTICE), "Thermostat"),
        "credentials": ("A waiting device was accepted.", dialects.notice(samples.CREDENTIALS_NOTICE), "1234"),
    }
    for name, (summary, outbound, who) in told.items():
        if outbound is not None:
            variable = "username" if f"/{USERS}/" in outbound.topic else "clientId"
            address = outbound.topic.replace(f"/{who}/", f"/{{{variable}}}/")
            described.notice(name, summary, address, outbound.payload, _AT_LEAST_ONCE)
    progress = sheets.encode_progress(samples.PROGRESS)
    address = f"{_lane_of(None)}response/{{requestId}}/progress"
    described.notice("progress", "The progress of a file.", address, progress, _AT_MOST_ONCE)
    event = admin.encode_event(samples.EVENT)
    described.notice("auditEvent", "An audit event.", f"{ROOT}/events/{{tenant}}/{{event}}", event, _AT_MOST_ONCE)
    status = json.dumps({"state": "online", "version": __version__, "since": samples.NOW_MS}).encode()
    described.notice("status", "The state of the service.", f"{ROOT}/status", status, _RETAINED)


def _request(name: str, read: Any) -> Node:
    schema = schemas.request(name, read)
    return {"payload": schema} if schema is not None else {"summary": "The payload is ignored."}


def _seen(payload: bytes) -> Node:
    schema, shown = schemas.answer(payload)
    kind = {} if not isinstance(shown, str) else {"contentType": "text/plain"}
    return {**kind, "payload": schema, "examples": [{"payload": shown}]}


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


def _words(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda match: f" {match[1].lower()}", name).lower()
