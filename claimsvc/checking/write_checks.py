"""Attacks: publishing where one must not. The judge is the service's own login, which may read everything.

What a broker answers to the attacker does not count: only whether anything arrives. On a broker that lets them
through, the attacks are harmless: they ask, in the victim's name, for what the victim may not have either.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

from claimsvc.checking.finding import Seen
from claimsvc.checking.scene import Scene, nonce, word
from claimsvc.dialects.message import Outbound
from claimsvc.mqtt.caller import (
    CallerError,
    CannotConnectError,
    ConnectionLostError,
    Heard,
    LoginRefusedError,
    open_caller,
)

CLAIM = "v1/devices/me/claim"
_GRANTS = "grant lanes by the lines of config/acl, each with its literal tail; nobody else `{root}/#` or `#`"


class BlindError(CallerError):
    """The judge hears nothing, and cannot judge."""


async def see_foreign_lanes(scene: Scene) -> Seen:
    """Whether one account can publish into another's lane."""
    root = scene.site.root
    targets = {
        "its claim topic": scene.lane(scene.victim, CLAIM),
        "its REST calls": scene.lane(scene.victim, f"request/{nonce()}/GET/claimsvc/events"),
        "its answers": scene.lane(scene.victim, f"response/{nonce()}"),
        "a lane without a name": f"{root}/u//{CLAIM}",
    }
    troubles = await _through(scene, targets)
    return Seen(_reached(troubles), _GRANTS.format(root=root))


async def see_impersonation(scene: Scene) -> Seen:
    """Whether one account can speak as the service: its lane, its status, its audit events."""
    root = scene.site.root
    targets = {
        "REST calls of the service": f"{root}/u/{scene.site.service_name}/request/{nonce()}/GET/claimsvc/tenants",
        "the service's status": f"{root}/status",
        "audit events": f"{root}/events/{scene.site.tenant}/claimsvc_check",
    }
    troubles = await _through(scene, targets)
    return Seen(_reached(troubles), _GRANTS.format(root=root))


async def see_own_lane(scene: Scene) -> Seen:
    """Whether grants are literal: in the own lane, too, only what the dialects have may be published."""
    targets = {
        "answers in the own lane": scene.lane(scene.attacker, f"response/{nonce()}"),
        "any topic in the own lane": scene.lane(scene.attacker, f"check/{nonce()}"),
    }
    troubles = await _through(scene, targets)
    change = "a grant such as `pattern readwrite .../u/%u/#` opens a lane to whoever has a name with a slash: "
    return Seen(_reached(troubles), change + "take the lines of config/acl")


async def see_client_lanes(scene: Scene) -> Seen:
    """Publish in the lanes of shared logins with another login, whatever client id it chooses."""
    poll = "request/1/POST/devicecontrol/deviceCredentials"
    targets = {
        "its request for credentials": scene.client_lane(scene.site.bootstrap, "s/ucr"),
        "its request by REST": scene.client_lane(scene.site.bootstrap, poll),
        "its credentials": scene.client_lane(scene.site.bootstrap, "s/dcr"),
        "its provisioning": scene.client_lane(scene.site.provision, "/provision/request"),
        "what it is provisioned with": scene.client_lane(scene.site.provision, "/provision/response"),
    }
    troubles = await _through(scene, targets)
    for how, client_id in scene.strange_ids().items():
        found = await _through(scene, targets, client_id)
        troubles += [f"{each}, by {how}" for each in found if each not in troubles]
    change = "the lines for %u and %c of config/acl, each with its literal tail: a client chooses its own id"
    return Seen(_reached(troubles), change)


async def see_denials(scene: Scene) -> Seen:
    """Whether a message that is denied costs its sender the connection, as with a queue limit of 0."""
    troubles = []
    async with scene.entered(scene.attacker) as attacker:
        try:
            await attacker.caller.publish(Outbound(f"v1/devices/me/telemetry/{nonce()}", b"{}"))
            await attacker.caller.publish(Outbound(f"v1/devices/me/telemetry/{nonce()}", b"{}"))
        except ConnectionLostError as error:
            troubles.append(str(error))
    change = "Mosquitto 2.0 does so with max_queued_messages 0: set 1000000000"
    return Seen(troubles, change)


def _reached(names: list[str]) -> list[str]:
    return [f"reached: {', '.join(names)}"] if names else []


async def _through(scene: Scene, targets: Mapping[str, str], client_id: str = "") -> list[str]:
    """Return the names of the targets at which a message of the attacker's arrives.

    Behind each attack the judge publishes there itself: what it then has not heard did not arrive, and a judge that
    does not hear itself cannot judge. Raises CallerError.
    """
    heard: set[tuple[str, bytes]] = set()
    kept: dict[str, bytes] = {}

    def hear(message: Heard) -> None:
        heard.add((message.topic, message.payload))
        if message.retained:
            kept[message.topic] = message.payload

    async with open_caller(scene.site.service) as judge, AsyncExitStack() as listening:
        for topic in targets.values():
            listening.enter_context(judge.listening(topic, hear))
            await judge.subscribe(topic)
        await scene.settled(judge)  # what is retained came before
        attacks, wills, controls = (
            {name: Outbound(topic, _marked(kept.get(topic, b""), number)) for name, topic in targets.items()}
            for number in range(3)
        )
        for name in targets:
            await _attack(scene, attacks[name], wills[name], client_id)
        for control in controls.values():
            await judge.publish(control)
        await scene.settled(judge)
    arrived = {name for name in targets if _key(attacks[name]) in heard}
    willed = [name for name in targets if _key(wills[name]) in heard and name not in arrived]
    blind = [name for name in targets if _key(controls[name]) not in heard]
    through = [*(name for name in targets if name in arrived), *(f"{name}, by a will" for name in willed)]
    if blind and not through:
        raise BlindError(f"the service's own login does not hear what it publishes: {', '.join(blind)}")
    return through


async def _attack(scene: Scene, attack: Outbound, will: Outbound, client_id: str) -> None:
    """Publish, and again by a will. That the broker ends or refuses the connection, too, is a way to deny it."""
    with suppress(ConnectionLostError):
        async with scene.entered(scene.attacker, client_id) as attacker:
            await attacker.caller.publish(attack)
    with suppress(ConnectionLostError, LoginRefusedError, CannotConnectError):
        async with scene.entered(scene.attacker, client_id, will) as attacker:
            attacker.caller.vanish()


def _key(outbound: Outbound) -> tuple[str, bytes]:
    return outbound.topic, outbound.payload


def _marked(kept: bytes, number: int) -> bytes:
    """Return a payload that is known again. What is retained there stays in force: spaces more or less are none."""
    return kept + b" " * (1 + number) if kept else word(nonce())
