"""A client that registers devices by file, and the example file of Cumulocity's reference."""

from __future__ import annotations

from typing import Any

from tests.support.clients import Answer, LoginRefusedError, fresh
from tests.support.newcomers import Operator, Registered
from tests.support.processes import World

BULK = "/devicecontrol/bulkNewDeviceRequests"
EXAMPLE = """ID;CREDENTIALS;TYPE;NAME;ICCID;IDTYPE;PATH;SHELL
id_101;abcd1234;type_of_device;Device 101;111111111;;csv device/subgroup0;1
id_102;abcd1234;type_of_device;Device 102;222222222;;csv device/subgroup0;0
id_111;abcd1234;type_of_device;Device 111;333333333;c8y_Imei;csv device1/subgroup1;0
id_112;abcd1234;type_of_device;Device 112;444444444;;csv device1/subgroup1;1
id_121;abcd1234;type_of_device;Device 121;555555555;;csv device1/subgroup2;1
id_122;abcd1234;type_of_device;Device 122;;;csv device1/subgroup2;
id_131;abcd1234;type_of_device;Device 131;;;csv device1/subgroup3;
"""
EXAMPLE_IDS = [f"id_{number}" for number in (101, 102, 111, 112, 121, 122, 131)]
PASSWORD = "abcd1234"


class Importer(Operator):
    """Whoever registers devices by file."""

    def send(self, text: str | bytes, query: str = "", **more: Any) -> Answer:
        """Send a file and return its answer."""
        return self.call("POST", BULK + query, text.encode() if isinstance(text, str) else text, **more)

    def attributes(self, device: str) -> dict[str, Any]:
        """Return what a file said of a device besides."""
        path = f"/api/plugins/telemetry/DEVICE/{self.device_id(device)}/values/attributes/SERVER_SCOPE"
        return {each["key"]: each["value"] for each in self.call("GET", path).body}

    def exists(self, device: str) -> bool:
        return self.call("GET", f"/api/tenant/devices?deviceName={device}").status == 200


def counts(answer: Answer) -> list[int]:
    """Return how many rows there were, were created, failed, and were successful."""
    assert answer.status == 201, answer
    names = ("numberOfAll", "numberOfCreated", "numberOfFailed", "numberOfSuccessful")
    return [answer.body[name] for name in names]


def own_example() -> tuple[str, list[str]]:
    """Return the documented file with ids and groups that no other test uses, and the ids."""
    stem = fresh("id")
    text = EXAMPLE.replace("id_", f"{stem}_").replace("csv device", f"csv {stem}")
    return text, [each.replace("id_", f"{stem}_") for each in EXAMPLE_IDS]


def enters(world: World, device_id: str, password: str = PASSWORD, tenant: str = "default") -> bool:
    """Return whether a device of a file can log in; then it can do what devices do."""
    try:
        with Registered(world, ["70", tenant, f"device_{device_id}", password]) as device:
            assert device.open_window({})["status"] == "SUCCESS"
    except LoginRefusedError:
        return False
    return True


def groups(world: World, device: str) -> list[tuple[str]]:
    """Return the paths of a device's groups."""
    return world.rows(
        "SELECT g.path FROM device d JOIN device_group_member m ON m.device_id = d.id "
        "JOIN device_group g ON g.id = m.group_id WHERE d.name = ?",
        device,
    )


def failures(answer: Answer) -> list[tuple[Any, ...]]:
    """Return the line, the column and the code of each row that failed."""
    return [(each["lineNumber"], each.get("column"), each["code"]) for each in answer.body["failedCreationList"]]
