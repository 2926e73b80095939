"""Attacks by publishing to forbidden topics. The judge is a client with the service's login: it may read everything.

Only messages that arrive count, not what the broker answers to the attacker. The attacks are harmless even if they
succeed: they request, in the victim's name, only what the victim may not have either.
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
_GRANTS = "use the lines of config/acl with their literal tails; grant no other client `{root}/#` or `#`"


class BlindError(CallerError):
    """The judge does not receive its own messages, so its silence proves nothing."""


async def see_foreign_lanes(scene: Scene) -> Seen:
    """Check that an account cannot publish into another lane."""
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
    """Check that an account cannot publish in the service's lane, or its status or audit events."""
    root = scene.site.root
    targets = {
        "REST calls of the service": f"{root}/u/{scene.site.service_name}/request/{nonce()}/GET/claimsvc/tenants",
        "the service's status": f"{root}/status",
        "audit events": f"{root}/events/{scene.site.tenant}/claimsvc_check",
    }
    troubles = await _through(scene, targets)
    return Seen(_reached(troubles), _GRANTS.format(root=root))


async def see_own_lane(scene: Scene) -> Seen:
    """Check that an account can publish, even in its own lane, only to the topics of the dialects."""
    targets = {
        "answers in its own lane": scene.lane(scene.attacker, f"response/{nonce()}"),
        "any topic in its own lane": scene.lane(scene.attacker, f"check/{nonce()}"),
    }
    troubles = await _through(scene, targets)
    change = "use the lines of config/acl: `pattern readwrite .../u/%u/#` opens other lanes to a name with a slash"
    return Seen(_reached(troubles), change)


async def see_client_lanes(scene: Scene) -> Seen:
    """Check that another login cannot publish in the lanes of shared logins, whatever client id it chooses."""
    poll = "request/1/POST/devicecontrol/deviceCredentials"
    targets = {
        "its request for credentials": scene.client_lane(scene.site.bootstrap, "s/ucr"),
        "its REST request": scene.client_lane(scene.site.bootstrap, poll),
        "its credentials": scene.client_lane(scene.site.bootstrap, "s/dcr"),
        "its provisioning request": scene.client_lane(scene.site.provision, "/provision/request"),
        "its provisioning answer": scene.client_lane(scene.site.provision, "/provision/response"),
    }
    troubles = await _through(scene, targets)
    for how, client_id in scene.strange_ids().items():
        found = await _through(scene, targets, client_id)
        troubles += [f"{each}, by {how}" for each in found if each not in troubles]
    change = "use the lines for %u and %c of config/acl with their literal tails: a client chooses its own client id"
    return Seen(_reached(troubles), change)


async def see_denials(scene: Scene) -> Seen:
    """Check that a denied message does not disconnect its sender, as it does with a queue limit of 0."""
    troubles = []
    async with scene.entered(scene.attacker) as attacker:
        try:
            await attacker.caller.publish(Outbound(f"v1/devices/me/telemetry/{nonce()}", b"{}"))
            await attacker.caller.publish(Outbound(f"v1/devices/me/telemetry/{nonce()}", b"{}"))
        except ConnectionLostError as error:
            troubles.append(str(error))
    change = "set max_queued_messages 1000000000: with 0 Mosquitto 2.0 disconnects the sender of a denied message"
    return Seen(troubles, change)


def _reached(names: list[str]) -> list[str]:
    return [f"reached: {', '.join(names)}"] if names else []


async def _through(scene: Scene, targets: Mapping[str, str], client_id: str = "") -> list[str]:
    """Return the names of the targets at which a message of the attacker arrives. Raises CallerError.

    After the attacks the judge publishes to each target itself. An attack that it has not received by then did not
    arrive; a judge that does not receive its own message cannot judge.
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
        await scene.settled(judge)  # retained messages have arrived by then
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
        raise BlindError(f"the service's login does not receive its own messages: {', '.join(blind)}")
    return through


async def _attack(scene: Scene, attack: Outbound, will: Outbound, client_id: str) -> None:
    """Publish directly, then by a will. A broker that closes or refuses the connection has denied the attack."""
    with suppress(ConnectionLostError):
        async with scene.entered(scene.attacker, client_id) as attacker:
            await attacker.caller.publish(attack)
    with suppress(ConnectionLostError, LoginRefusedError, CannotConnectError):
        async with scene.entered(scene.attacker, client_id, will) as attacker:
            attacker.caller.vanish()


def _key(outbound: Outbound) -> tuple[str, bytes]:
    return outbound.topic, outbound.payload


def _marked(kept: bytes, number: int) -> bytes:
    """Return a recognisable payload. For a topic with a retained message it is that message plus spaces.

    So an attack that succeeds does not change the meaning of the retained message.
    """
    return kept + b" " * (1 + number) if kept else word(nonce())
