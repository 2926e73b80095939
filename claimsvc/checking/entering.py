"""Who gets in: nobody without a login, nobody with a wrong password; and what the broker is."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from claimsvc.checking.finding import Seen, UnseenError
from claimsvc.checking.scene import Account, Scene, Site, nonce
from claimsvc.checking.write_checks import CLAIM
from claimsvc.dialects.message import Outbound
from claimsvc.mqtt.caller import (
    REFUSED,
    Caller,
    CallerError,
    CallerOptions,
    Heard,
    LoginRefusedError,
    open_caller,
)

_OLDEST = (2, 0)
_RETAINED_S = 1.0
"""How long a retained message may take. It comes right behind the subscription, or not at all."""
_VERSION, _DROPPED = "$SYS/broker/version", "$SYS/broker/publish/messages/dropped"
_READ_SYS = (
    "let the service read it: `topic read $SYS/#` below `user {name}` in the ACL file (and sys_interval above 0)"
)
_SILENT = "Mosquitto tells of it for a minute after each change, and there was none lately"
"""Its $SYS messages expire, but for the version."""


async def see_version(site: Site, service: Caller) -> Seen:
    """Which broker it is."""
    told = await _retained(service, _VERSION)
    if told is None:
        raise UnseenError(f"{_VERSION} cannot be read", _READ_SYS.format(name=site.service_name))
    version = re.search(r"(\d+)\.(\d+)", told)
    old = version is None or (int(version[1]), int(version[2])) < _OLDEST
    return Seen([told] if old else [], "older ones know neither MQTT 5 nor the plugin", seen=told)


async def see_losses(site: Site, service: Caller) -> Seen:
    """Whether the broker has dropped messages since its start: no client is told of that."""
    told = await _retained(service, _DROPPED)
    if told is None and await _retained(service, _VERSION) is not None:
        raise UnseenError(_SILENT, f"watch {_DROPPED}: who stays subscribed hears of each change")
    if told is None or not told.isdigit():
        raise UnseenError(f"{_DROPPED} cannot be read", _READ_SYS.format(name=site.service_name))
    troubles = [f"{told} messages"] if int(told) else []
    change = "a queue was full, of the service or of somebody else: see max_queued_messages and max_queued_bytes"
    return Seen(troubles, change, as_warning=True)


async def see_transport(site: Site, service: Caller) -> Seen:
    """Whether passwords travel in the clear over a network."""
    local = site.service.host in {"localhost", "::1"} or site.service.host.startswith("127.")
    troubles = [] if local or site.service.tls else [f"{site.service.host} without TLS"]
    change = "mqtt.tls = true, and a TLS listener at the broker"
    return Seen(troubles, change, as_warning=True)


async def see_anonymous(site: Site, service: Caller) -> Seen:
    """Whether somebody without a login gets in."""
    stranger = replace(site.service, username=None, password=None)
    return await _refused(stranger, "allow_anonymous false, in every listener")


async def see_wrong_password(scene: Scene) -> Seen:
    """Whether a wrong password opens anything."""
    stranger = replace(scene.options(scene.attacker), password=nonce())
    change = "look for an authentication plugin that says yes to everybody, and at the password file"
    return await _refused(stranger, change)


async def see_plugin(scene: Scene) -> Seen:
    """Whether the plugin is there: with it a plain topic becomes one in the lane, and the answer a plain one."""
    present = await _answers_plainly(scene, scene.attacker)
    if scene.site.expects_plugin:
        troubles = [] if present else ["a plain topic gets no answer"]
        return Seen(troubles, "see plugin.md: the lines `plugin` and `plugin_opt_store`", seen="it is loaded")
    troubles = ["it is loaded, and not used"] if present else []
    return Seen(troubles, 'credentials.store = "plugin"', seen="it is not, nor expected", as_warning=True)


async def _answers_plainly(scene: Scene, account: Account) -> bool:
    async with scene.entered(account) as calls:
        topic = f"{CLAIM}/response"
        try:
            await calls.caller.subscribe(topic)
            if await calls.caller.publish(Outbound(CLAIM, b"{}")) >= REFUSED:
                return False
            await calls.ask("GET", "/claimsvc/users")  # answered behind it
            return (await calls.caller.receive(timeout_s=_RETAINED_S)).topic == topic
        except CallerError:
            return False


async def _refused(stranger: CallerOptions, change: str) -> Seen:
    try:
        async with open_caller(stranger):
            return Seen(["the broker lets it in"], change)
    except LoginRefusedError:
        return Seen()


async def _retained(service: Caller, topic: str) -> str | None:
    """Return what is retained on a topic, or None where nothing is that this login may read."""
    message: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()

    def hear(heard: Heard) -> None:
        if not message.done():
            message.set_result(heard)

    with service.listening(topic, hear):
        if await service.subscribe(topic) >= REFUSED:
            return None
        try:
            async with asyncio.timeout(_RETAINED_S):
                return (await message).payload.decode(errors="replace")
        except TimeoutError:
            return None
