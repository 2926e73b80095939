"""Checks of the broker's limits, tried with test messages on unused topics.

Number, size and time of the messages are bounded. A higher limit cannot be seen from outside; the findings say so.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from claimsvc.checking.finding import Seen, SkippedError
from claimsvc.checking.scene import Scene, Site
from claimsvc.dialects.message import Outbound
from claimsvc.mqtt.caller import REFUSED, Caller, CallerError, CallTimeoutError, Granted, open_caller

QUEUED = 1_500
"""Number of test messages in the queue: more than the 1 000 that Mosquitto keeps by default."""
_AT_A_TIME = 100
_SILENCE_S = 2.0
_KEPT_S = 60
_ENOUGH_INFLIGHT = 1_000
_CONF = "see max_queued_bytes in mosquitto.conf, or pass --mosquitto-conf"


async def see_granted(site: Site, service: Caller) -> Seen:
    """Check the limits that the broker states in CONNACK."""
    said = service.granted
    troubles = []
    if said.receive_maximum < _ENOUGH_INFLIGHT:
        troubles.append(f"only {said.receive_maximum} messages may be in flight")
    if said.highest_qos < 1:
        troubles.append("no QoS above 0")
    if not said.retains:
        troubles.append("no retained messages, so the service's status cannot be retained")
    change = "max_inflight_messages 0 (on Mosquitto 2.1: 65535), max_qos 2, retain_available true"
    return Seen(troubles, change, seen=_shown(said))


def _shown(said: Granted) -> str:
    unlimited = said.receive_maximum == Granted().receive_maximum
    return "no limit stated" if unlimited else f"{said.receive_maximum} at a time"


async def see_queue(scene: Scene) -> Seen:
    """Check that the queue of an offline client keeps more than the default of 1 000 messages."""
    topic = scene.lane(scene.attacker, "check/queue")
    waiter = replace(
        scene.site.service, client_id=f"{scene.client_id}-queue", clean_start=False, session_expiry_s=_KEPT_S
    )
    async with open_caller(waiter) as away:
        if await away.subscribe(topic) >= REFUSED:
            raise SkippedError(f"the service's login may not subscribe to {topic}")
    try:
        if not await _fill(scene.service, topic):
            raise SkippedError(f"the service's login may not publish to {topic}")
        async with open_caller(waiter) as back:
            kept = await _drained(back)
    finally:
        async with open_caller(replace(waiter, clean_start=True, session_expiry_s=0)):
            pass  # a clean start deletes the session and its queue
    if kept < QUEUED:
        change = "max_queued_messages 1000000000 (not 0: Mosquitto 2.0 then disconnects a client on a denied message)"
        return Seen([f"{kept} of {QUEUED} messages were kept, although each was acknowledged"], change)
    return Seen(seen=f"all {QUEUED} messages; more were not tried: {_CONF}")


async def _fill(service: Caller, topic: str) -> bool:
    """Publish QUEUED messages. Return False if the broker refuses them."""
    for first in range(0, QUEUED, _AT_A_TIME):
        messages = (Outbound(topic, b"%d" % number) for number in range(first, first + _AT_A_TIME))
        codes = await asyncio.gather(*(service.publish(each, expires_s=_KEPT_S) for each in messages))
        if max(codes) >= REFUSED:
            return False
    return True


async def _drained(back: Caller) -> int:
    heard: set[bytes] = set()
    try:
        while len(heard) < QUEUED:
            heard.add((await back.receive(timeout_s=_SILENCE_S)).payload)
    except CallTimeoutError:
        pass
    return len(heard)


async def see_sizes(scene: Scene) -> Seen:
    """Check that the largest gateway message is answered and that the largest payload passes the broker."""
    site = scene.site
    troubles = []
    stated = scene.service.granted.largest_packet
    if not await _is_answered(scene, site.gateway_bytes):
        troubles.append(f"a gateway's message of {site.gateway_bytes} bytes got no answer")
    if not await _passes(scene, site.largest_bytes):
        limit = f" (the broker states a limit of {stated})" if stated else ""
        troubles.append(f"a message of {site.largest_bytes} bytes did not pass{limit}")
    change = (
        f"message_size_limit {max(20 * 1024 * 1024, 2 * site.largest_bytes)}, and on 2.1 max_packet_size likewise"
    )
    seen = f"{site.largest_bytes} bytes"
    return Seen(troubles, change, seen=seen)


async def _is_answered(scene: Scene, size: int) -> bool:
    """Return whether the service answers a message of this size: with a refusal, as the sender is no gateway."""
    request, answer = (scene.lane(scene.attacker, f"v1/gateway/claim{end}") for end in ("", "/response"))
    try:
        async with scene.entered(scene.attacker) as attacker:
            await attacker.caller.subscribe(answer)
            await attacker.caller.call(Outbound(request, b"{" + b" " * (size - 2) + b"}"), answer)
    except CallerError:
        return False
    return True


async def _passes(scene: Scene, size: int) -> bool:
    topic = scene.lane(scene.attacker, "check/size")
    try:
        async with open_caller(scene.site.service) as service:
            await service.subscribe(topic)
            heard = await service.call(Outbound(topic, b" " * size), topic)
    except CallerError:
        return False
    return len(heard.payload) == size
