"""Attacks by reading: spies subscribe to messages of another account, then such messages are published.

The victim must receive them too. Otherwise the spies' silence would prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from claimsvc.checking.calls import Calls
from claimsvc.checking.finding import Seen
from claimsvc.checking.scene import Scene, nonce, word
from claimsvc.checking.write_checks import CLAIM
from claimsvc.dialects.message import Outbound
from claimsvc.immutable import immutable
from claimsvc.mqtt.caller import CallTimeoutError, ConnectionLostError, open_caller

_GRANTS = "use the `read` lines of config/acl with their literal tails; grant no other client `{root}/#` or `#`"


@immutable
class _Spy:
    name: str
    calls: Calls


async def see_names(scene: Scene) -> Seen:
    """Check that a client cannot read another lane by its name."""
    filters = {
        "its claim answers": scene.lane(scene.victim, f"{CLAIM}/response"),
        "its REST answers": scene.lane(scene.victim, "response/+"),
        "the whole lane": scene.lane(scene.victim, "#"),
        "credentials of a client id": scene.client_lane(scene.site.bootstrap, "s/dcr"),
        "provisioning answers of a client id": scene.client_lane(scene.site.provision, "/provision/response"),
    }
    troubles = await _overheard(scene, filters)
    credentials = {"credentials of a client id": scene.client_lane(scene.site.bootstrap, "s/dcr")}
    for how, client_id in scene.strange_ids().items():
        found = await _overheard(scene, credentials, client_id)
        troubles += [f"{each}, by {how}" for each in found if each not in troubles]
    return Seen(_heard_by(troubles), _GRANTS.format(root=scene.site.root))


async def see_wildcards(scene: Scene) -> Seen:
    """Check that a client cannot read messages of others by a wildcard."""
    root = scene.site.root
    filters = [f"{root}/#", f"{root}/u/+/#", f"{root}/u/+/response/+", f"{root}/c/+/+/s/dcr", "+/+/+/+/+", "#"]
    filters += [f"{root}/events/#", f"{CLAIM}/response", "+/devices/+/claim/response"]
    troubles = await _overheard(scene, {each: each for each in filters})
    return Seen(_heard_by(troubles), _GRANTS.format(root=root))


async def see_shared_subscriptions(scene: Scene) -> Seen:
    """Check that a client cannot read messages of others by a shared subscription in a group of its own."""
    group = f"$share/check-{nonce()}"
    filters = {
        "$share/.../<another lane>/#": f"{group}/{scene.lane(scene.victim, '#')}",
        "$share/.../<all requests>": f"{group}/{scene.site.root}/u/+/request/+/+/#",
        "$share/.../#": f"{group}/#",
    }
    troubles = await _overheard(scene, filters)
    change = _GRANTS.format(root=scene.site.root)
    return Seen(_heard_by(troubles), change)


async def see_response_topics(scene: Scene) -> Seen:
    """Check that a Response Topic cannot make the service answer into another lane or overwrite its status."""
    targets = {
        "another lane": scene.lane(scene.victim, f"response/{nonce()}"),
        "the service's status": f"{scene.site.root}/status",
    }
    heard: set[str] = set()
    async with (
        scene.entered(scene.attacker) as attacker,
        open_caller(scene.site.service) as judge,
        AsyncExitStack() as listening,
    ):
        for topic in targets.values():
            await judge.subscribe(topic)
        await scene.settled(judge)
        for topic in targets.values():
            listening.enter_context(judge.listening(topic, lambda message: heard.add(message.topic)))
            request = Outbound(scene.lane(scene.attacker, f"request/{nonce()}/GET/claimsvc/users"), b"")
            await attacker.caller.publish(request, response_topic=topic)
        await attacker.ask("GET", "/claimsvc/users")  # answered after them
        await scene.settled(judge)
    troubles = [name for name, topic in targets.items() if topic in heard]
    change = "report this bug: the service must ignore such a Response Topic"
    return Seen([f"reached: {', '.join(troubles)}"] if troubles else [], change)


def _heard_by(names: list[str]) -> list[str]:
    return [f"readable: {', '.join(names)}"] if names else []


async def _overheard(scene: Scene, filters: Mapping[str, str], client_id: str = "") -> list[str]:
    """Return the names of the filters that deliver messages of others to the attacker. Raises CallerError.

    With a client id, `filters` has one entry, because a client id can have one connection only.
    """
    async with AsyncExitStack() as stack:
        victim = await stack.enter_async_context(scene.entered(scene.victim))
        spies: list[_Spy] = []
        for name, topic_filter in filters.items():
            calls = await stack.enter_async_context(scene.entered(scene.attacker, client_id))
            await calls.caller.subscribe(topic_filter)
            spies.append(_Spy(name, calls))
        secret = await _say_secrets(scene, victim)
        return [spy.name for spy in spies if await _heard_secrets(scene, spy.calls, secret)]


async def _say_secrets(scene: Scene, victim: Calls) -> bytes:
    """Publish answers, credentials and an audit event that all carry a secret payload, and return the payload."""
    secret = word(nonce())
    answers = scene.lane(scene.victim, f"{CLAIM}/response")
    await victim.caller.subscribe(answers)
    await victim.ask("GET", "/claimsvc/events")
    events = f"{scene.site.root}/events/{scene.site.tenant}/claimsvc_check"
    for topic in (
        scene.client_lane(scene.site.bootstrap, "s/dcr"),
        scene.client_lane(scene.site.provision, "/provision/response"),
        events,
        answers,
    ):
        await scene.service.publish(Outbound(topic, secret))
    while (await victim.caller.receive(timeout_s=scene.site.service.timeout_s)).payload != secret:
        pass
    return secret


async def _heard_secrets(scene: Scene, spy: Calls, secret: bytes) -> bool:
    """Return whether a spy received messages of others, after everything sent before its own last call has arrived.

    A spy that the broker disconnected because of its subscription has received nothing. Raises CallerError if the
    last call gets no answer, because the spy's silence then proves nothing.
    """
    unheard: CallTimeoutError | None = None
    try:
        await spy.ask("GET", "/claimsvc/users")
    except ConnectionLostError:
        pass
    except CallTimeoutError as error:
        unheard = error
    own = (scene.lane(scene.attacker, ""), f"{scene.site.root}/status")
    while True:
        try:
            heard = await spy.caller.receive(timeout_s=0.01)
        except (CallTimeoutError, ConnectionLostError):
            break
        foreign = heard.topic.startswith(f"{scene.site.root}/") and not heard.topic.startswith(own)
        if foreign or secret in heard.payload:
            return True
    if unheard is not None:
        raise unheard
    return False
