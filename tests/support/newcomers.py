"""Devices without a login of their own, and those who let them in."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import paho.mqtt.client as paho

from claimsvc.core.names import principal_name
from claimsvc.core.policy import BOOTSTRAP_ALIAS
from claimsvc.founding import Account
from tests.support.clients import V311, Admin, Answer, Client
from tests.support.factories import given
from tests.support.processes import World

REQUESTS, CREDENTIALS = "/devicecontrol/newDeviceRequests", "/devicecontrol/deviceCredentials"
ASK, TOLD = "s/ucr", "s/dcr"


def level_of(text: str) -> str:
    """Return a name as one level of a topic, as the service and the plugin write it."""
    return principal_name("default", text, given().policy)


class Newcomer(Client):
    """A device as agents are before they have credentials: the shared login, and its id as client id.

    With the plugin it speaks plain topics; on a stock broker its lane's, with its client id percent-encoded.
    """

    def __init__(self, world: World, device_id: str, **options: Any) -> None:
        self.level = level_of(device_id)
        self.has_plugin = world.has_plugin
        password = world.accounts["bootstrap"].password
        account = Account(BOOTSTRAP_ALIAS if world.has_plugin else "bootstrap", password)
        client_id = device_id if world.has_plugin else self.level
        super().__init__(world.port, account, version=V311, client_id=client_id, **options)

    def lane(self, tail: str) -> str:
        """Return a topic of the client id's lane."""
        return f"claimsvc/c/bootstrap/{self.level}/{tail}"

    def topic(self, plain: str) -> str:
        """Return the topic an agent uses for Cumulocity's."""
        return plain if self.has_plugin else self.lane(plain)

    def listen(self, *plain: str, qos: int = 1) -> None:
        """Subscribe where credentials come."""
        self.subscribe(*(self.topic(each) for each in plain or (TOLD,)), qos=qos)

    def stop_listening(self) -> None:
        """Listen no more; not waited for, as agents do not."""
        self._paho.unsubscribe(self.topic(TOLD))

    def ask(self, payload: bytes | None = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Ask for credentials; the broker has read it when this returns."""
        self.publish(self.topic(ASK), payload, qos=qos, retain=retain)
        self.subscribe("claimsvc/status")

    def poll(self, device_id: str, **body: Any) -> Answer:
        """Ask by REST."""
        return self.call("POST", CREDENTIALS, {"id": device_id, **body})

    def told(self) -> paho.MQTTMessage:
        """Return the next message but the service's status."""
        while (message := self.receive()).topic == "claimsvc/status":
            pass
        return message

    def credentials(self) -> list[str]:
        """Return the cells of the login that comes next."""
        message = self.told()
        assert (message.topic, message.retain) == (self.topic(TOLD), False)
        return message.payload.decode().split(",")

    def topics_heard(self) -> set[str]:
        """Return what came but the service's status; after a round trip."""
        self.subscribe("claimsvc/status")
        return self.topics_heard_so_far()

    def topics_heard_so_far(self) -> set[str]:
        """Return the same where the connection is gone."""
        return {message.topic for message in self.drain()} - {"claimsvc/status"}


class Operator(Admin):
    """Whoever lets devices in."""

    def announce(self, device_id: str, **fields: Any) -> Answer:
        return self.call("POST", REQUESTS, {"id": device_id, **fields})

    def look(self, device_id: str) -> Answer:
        return self.call("GET", f"{REQUESTS}/{quote(device_id, safe='')}")

    def status(self, device_id: str) -> str:
        return str(self.look(device_id).body["status"])

    def accept(self, device_id: str, **fields: Any) -> Answer:
        return self.call("PUT", f"{REQUESTS}/{quote(device_id, safe='')}", {"status": "ACCEPTED", **fields})

    def forget(self, device_id: str) -> Answer:
        return self.call("DELETE", f"{REQUESTS}/{quote(device_id, safe='')}")


def login_of(world: World, tenant: str, username: str, password: str) -> Account:
    """Return what a device logs in with: as Cumulocity writes it where that works."""
    return Account(f"{tenant}/{username}" if world.has_plugin else username, password)


class Registered(Client):
    """A device with its own login, in the lane of its principal."""

    def __init__(self, world: World, cells: list[str], **options: Any) -> None:
        _, tenant, username, password = cells
        super().__init__(world.port, login_of(world, tenant, username, password), **options)
        self.username = username
        if world.has_plugin:  # which makes the client its principal; elsewhere the device was told that
            self.username = principal_name(tenant, username, given().policy)
