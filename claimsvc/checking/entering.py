"""Checks of the broker itself and of its login: version, losses, transport, anonymous clients, wrong passwords."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from claimsvc.checking.finding import Seen, SkippedError
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
"""Time to wait for a retained message. It comes right after the subscription, or not at all."""
_VERSION, _DROPPED = "$SYS/broker/version", "$SYS/broker/publish/messages/dropped"
_READ_SYS = (
    "let the service read it: `topic read $SYS/#` below `user {name}` in the ACL file (and sys_interval above 0)"
)
_SILENT = "Mosquitto reports it only for a minute after each change, and nothing changed recently"
"""Its $SYS messages expire, except the version."""


async def see_version(site: Site, service: Caller) -> Seen:
    """Check the broker's version."""
    text = await _retained(service, _VERSION)
    if text is None:
        raise SkippedError(f"{_VERSION} cannot be read", _READ_SYS.format(name=site.service_name))
    version = re.search(r"(\d+)\.(\d+)", text)
    old = version is None or (int(version[1]), int(version[2])) < _OLDEST
    return Seen([text] if old else [], "upgrade: older brokers support neither MQTT 5 nor the plugin", seen=text)


async def see_losses(site: Site, service: Caller) -> Seen:
    """Check that the broker has dropped no messages since its start. It reports losses to no client."""
    text = await _retained(service, _DROPPED)
    if text is None and await _retained(service, _VERSION) is not None:
        raise SkippedError(_SILENT, f"monitor {_DROPPED} with a client that stays subscribed: it sees each change")
    if text is None or not text.isdigit():
        raise SkippedError(f"{_DROPPED} cannot be read", _READ_SYS.format(name=site.service_name))
    troubles = [f"{text} messages dropped"] if int(text) else []
    change = "the queue of the service or of another client was full: see max_queued_messages and max_queued_bytes"
    return Seen(troubles, change, as_warning=True)


async def see_transport(site: Site, service: Caller) -> Seen:
    """Check that no passwords travel in the clear over a network."""
    local = site.service.host in {"localhost", "::1"} or site.service.host.startswith("127.")
    troubles = [] if local or site.service.tls else [f"{site.service.host} without TLS"]
    change = "mqtt.tls = true, and a TLS listener on the broker"
    return Seen(troubles, change, as_warning=True)


async def see_anonymous(site: Site, service: Caller) -> Seen:
    """Check that a client without a login is refused."""
    stranger = replace(site.service, username=None, password=None)
    return await _refused(stranger, "allow_anonymous false, in every listener")


async def see_wrong_password(scene: Scene) -> Seen:
    """Check that a wrong password is refused."""
    stranger = replace(scene.options(scene.attacker), password=nonce())
    change = "look for an authentication plugin that accepts every login, and check the password file"
    return await _refused(stranger, change)


async def see_plugin(scene: Scene) -> Seen:
    """Check that the plugin is loaded exactly if the settings say so.

    The plugin moves a request from its plain topic to the lane, and the answer from the lane to the plain topic.
    """
    present = await _answers_plainly(scene, scene.attacker)
    if scene.site.expects_plugin:
        troubles = [] if present else ["a request on a plain topic gets no answer"]
        return Seen(
            troubles, "see plugin.md: the lines `plugin` and `plugin_opt_store`", seen="loaded, as configured"
        )
    troubles = ["the plugin is loaded but not used"] if present else []
    return Seen(troubles, 'credentials.store = "plugin"', seen="no plugin, as configured", as_warning=True)


async def _answers_plainly(scene: Scene, account: Account) -> bool:
    async with scene.entered(account) as calls:
        topic = f"{CLAIM}/response"
        try:
            await calls.caller.subscribe(topic)
            if await calls.caller.publish(Outbound(CLAIM, b"{}")) >= REFUSED:
                return False
            await calls.ask("GET", "/claimsvc/users")  # answered after it
            return (await calls.caller.receive(timeout_s=_RETAINED_S)).topic == topic
        except CallerError:
            return False


async def _refused(stranger: CallerOptions, change: str) -> Seen:
    try:
        async with open_caller(stranger):
            return Seen(["the broker accepts the connection"], change)
    except LoginRefusedError:
        return Seen()


async def _retained(service: Caller, topic: str) -> str | None:
    """Return the retained message of a topic, or None if there is none that this login may read."""
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
