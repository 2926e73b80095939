"""Devices that are to be provisioned by key, and whoever makes the profiles they show the keys of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from claimsvc.founding import Account
from tests.support.clients import V5, Admin, Client, fresh
from tests.support.processes import World

ASK, TOLD = "/provision/request", "/provision/response"
CREATE, CHECK, DISABLED = "ALLOW_CREATE_NEW_DEVICES", "CHECK_PRE_PROVISIONED_DEVICES", "DISABLED"
NOT_FOUND = {"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"}


@dataclass(frozen=True)
class Profile:
    """A profile as its devices know it."""

    id: str
    name: str
    key: str
    secret: str


def make_profile(admin: Admin, strategy: str) -> Profile:
    """Make a profile with a key and secret that the service makes up."""
    body = {"name": fresh("profile"), "provisionType": strategy}
    answer = admin.call("POST", "/api/deviceProfile", body)
    assert answer.status == 200, answer
    made = answer.body
    secret = made["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]
    return Profile(made["id"]["id"], made["name"], made["provisionDeviceKey"], secret)


class Applicant(Client):
    """A device that is nobody yet: with the plugin as ThingsBoard's are, else in the lane of its client id."""

    def __init__(self, world: World, *, client_id: str = "", version: Any = V5) -> None:
        self.level = client_id or fresh("applicant")
        self.has_plugin = world.has_plugin
        account = Account("provision", None) if world.has_plugin else world.accounts["provision"]
        super().__init__(world.port, account, version=version, client_id=self.level)
        self.subscribe(self.lane(TOLD))

    def lane(self, tail: str) -> str:
        """Return the topic this device uses."""
        return tail if self.has_plugin else f"claimsvc/c/provision/{self.level}/{tail}"

    def ask(self, profile: Profile, **fields: Any) -> Any:
        """Ask with a profile's key and secret and return the answer."""
        shown = {"provisionDeviceKey": profile.key, "provisionDeviceSecret": profile.secret}
        return self.send(json.dumps(shown | fields))

    def send(self, payload: bytes | str) -> Any:
        """Send anything and return the answer."""
        self.publish(self.lane(ASK), payload)
        while (message := self.receive()).topic == "claimsvc/status":
            pass
        assert (message.topic, message.retain) == (self.lane(TOLD), False)
        return json.loads(message.payload)
