"""A client in its own lane, at a real broker and service."""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
from typing import Any

import pytest

from claimsvc.dialects.message import Outbound
from claimsvc.mqtt.caller import (
    NOT_AUTHORIZED,
    Caller,
    CallerOptions,
    CallTimeoutError,
    CannotConnectError,
    ConnectionLostError,
    Granted,
    LoginRefusedError,
    NotAllowedError,
    open_caller,
)
from tests.support.processes import World, free_port


def options(world: World, account: str = "admin", **changes: Any) -> CallerOptions:
    """Return the options of one of the demo's accounts."""
    login = world.accounts[account]
    given: dict[str, Any] = {"username": login.username, "password": login.password, "tls": None, **changes}
    return CallerOptions(**{"host": "127.0.0.1", "port": world.port, **given})


async def ask(caller: Caller, request_id: str, timeout_s: float | None = None) -> Any:
    """Make a call as the admin and return its answer."""
    request = Outbound(f"claimsvc/u/admin/request/{request_id}/GET/claimsvc/users", b"")
    heard = await caller.call(request, f"claimsvc/u/admin/response/{request_id}", timeout_s)
    return json.loads(heard.payload)


async def test_a_call_brings_its_own_answer(shared_world: World) -> None:
    """Calls made at the same time get each the answer on their own topic."""
    async with open_caller(options(shared_world)) as caller:
        assert await caller.subscribe("claimsvc/u/admin/response/#") == 1
        answers = await asyncio.gather(*(ask(caller, f"same-time-{number}") for number in range(50)))
        assert {answer["status"] for answer in answers} == {200}


async def test_a_wrong_password_is_a_refused_login(shared_world: World) -> None:
    """The text names the login and not the password."""
    with pytest.raises(LoginRefusedError) as refused:
        async with open_caller(options(shared_world, password="hunter2hunter2")):
            pass
    assert "'admin'" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(options(shared_world, password="hunter2hunter2"))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({"port": free_port()}, r": Connection refused$", id="where nobody listens"),
        pytest.param({"host": "no-such-host.invalid"}, "no-such-host.invalid", id="a host that is not there"),
        pytest.param(
            {"tls": ssl.create_default_context()},
            "cannot connect",
            id="TLS at a port without it",
            # paho leaves the socket of a failed handshake to the garbage collector.
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
    ],
)
async def test_no_connection(shared_world: World, changes: dict[str, Any], word: str) -> None:
    """What is no broker cannot be connected to, and is named."""
    with pytest.raises(CannotConnectError, match=word):
        async with open_caller(options(shared_world, timeout_s=3, **changes)):
            pass
    gc.collect()


async def test_refusals_of_the_acl_can_be_looked_at(shared_world: World) -> None:
    """A foreign lane is closed. Mosquitto says so of a message; a subscription it grants, and gives nothing."""
    async with open_caller(options(shared_world, "device")) as caller:
        granted = [await caller.subscribe("claimsvc/u/admin/response/+", qos=qos) for qos in (0, 1, 2)]
        assert granted == [0, 1, 2]
        foreign = Outbound("claimsvc/u/admin/request/1/GET/claimsvc/users", b"")
        assert await caller.publish(foreign) == NOT_AUTHORIZED
        with pytest.raises(NotAllowedError) as refused:
            await caller.call(foreign, "claimsvc/u/device/response/1")
        assert refused.value.code == NOT_AUTHORIZED


async def test_several_clients_hear_each_their_own(shared_world: World) -> None:
    """Two connections with logins of their own do not meet."""
    async with open_caller(options(shared_world)) as one, open_caller(options(shared_world, "device")) as other:
        await one.subscribe("claimsvc/u/admin/response/#")
        await other.subscribe("claimsvc/u/device/v1/devices/me/claim/response")
        assert (await ask(one, "several-1"))["status"] == 200
        await other.publish(Outbound("claimsvc/u/device/v1/devices/me/claim", b""))
        heard = await other.receive(timeout_s=20)
        assert json.loads(heard.payload)["status"] in {"SUCCESS", "FAILURE"}
        assert heard.topic.startswith("claimsvc/u/device/")


async def test_retained_messages_say_so(shared_world: World) -> None:
    """The service's status is what a newcomer hears first."""
    async with open_caller(options(shared_world)) as caller:
        await caller.subscribe("claimsvc/status")
        heard = await anext(aiter(caller.messages()))
        assert (heard.topic, heard.retained) == ("claimsvc/status", True)


async def test_an_answer_that_does_not_come_is_a_timeout(shared_world: World) -> None:
    """Nobody waits for ever, neither for an answer nor for a message."""
    async with open_caller(options(shared_world)) as caller:
        await caller.subscribe("claimsvc/u/admin/response/#")
        nowhere = Outbound("claimsvc/u/admin/request/late/GET/claimsvc/users", b"")
        with pytest.raises(CallTimeoutError, match="response/other"):
            await caller.call(nowhere, "claimsvc/u/admin/response/other", timeout_s=0.2)
        assert (await caller.receive(timeout_s=20)).topic == "claimsvc/u/admin/response/late"
        with pytest.raises(CallTimeoutError):
            await caller.receive(timeout_s=0.1)


async def test_a_session_outlives_its_connection(shared_world: World) -> None:
    """Where it was asked for: what came meanwhile waits, and expires when it may."""
    kept = options(shared_world, client_id="lasting", clean_start=False, session_expiry_s=60)
    topic = "claimsvc/u/admin/response/kept"
    async with open_caller(kept) as caller:
        assert not caller.granted.session_present
        await caller.subscribe(topic)
    async with open_caller(options(shared_world, "admin")) as other:
        await other.subscribe(topic)
        await other.publish(Outbound("claimsvc/u/admin/request/kept/GET/claimsvc/nothing", b""))
        await other.receive(timeout_s=20)
    async with open_caller(kept) as caller:
        assert caller.granted.session_present
        assert (await caller.receive(timeout_s=20)).topic == topic
    async with open_caller(options(shared_world, client_id="lasting")) as caller:
        assert not caller.granted.session_present


async def test_what_the_broker_grants_can_be_looked_at(shared_world: World) -> None:
    """The shipped configuration limits neither what is on its way nor, in CONNACK, the size of a packet."""
    async with open_caller(options(shared_world)) as caller:
        assert caller.granted == Granted()


async def test_a_will_is_for_who_vanishes(shared_world: World) -> None:
    """Who says goodbye leaves none behind."""
    topic = "claimsvc/u/admin/request/will/GET/claimsvc/users"
    async with open_caller(options(shared_world)) as caller:
        await caller.subscribe("claimsvc/u/admin/response/#")
        leaving = options(shared_world, will=Outbound(topic, b""))
        async with open_caller(leaving):
            pass
        assert (await ask(caller, "behind-the-goodbye"))["status"] == 200
        async with open_caller(leaving) as other:
            other.vanish()
            with pytest.raises(ConnectionLostError):
                await other.receive()
        assert (await caller.receive(timeout_s=20)).topic.endswith("/will")
        with pytest.raises(CallTimeoutError):
            await caller.receive(timeout_s=0.2)


async def test_a_response_topic_is_sent(shared_world: World) -> None:
    """The service answers there, in the own lane."""
    async with open_caller(options(shared_world)) as caller:
        await caller.subscribe("claimsvc/u/admin/response/#")
        request = Outbound("claimsvc/u/admin/request/1/GET/claimsvc/users", b"")
        await caller.publish(request, response_topic="claimsvc/u/admin/response/else/where")
        assert (await caller.receive(timeout_s=20)).topic == "claimsvc/u/admin/response/else/where"


async def test_a_broker_that_dies_is_noticed_at_once(world: World) -> None:
    """Whoever waits is told, and what came before is still handed out."""
    async with open_caller(options(world)) as caller:
        await caller.subscribe("claimsvc/u/admin/response/#")
        await caller.subscribe("claimsvc/status")
        waiting = asyncio.create_task(caller.call(Outbound("claimsvc/status/none", b"", qos=0), "claimsvc/none", 60))
        assert (await ask(caller, "before"))["status"] == 200
        world.broker.kill()
        with pytest.raises(ConnectionLostError):
            await waiting
        assert (await caller.receive()).topic == "claimsvc/status"
        with pytest.raises(ConnectionLostError):
            await caller.receive()
        with pytest.raises(ConnectionLostError):
            await caller.publish(Outbound("claimsvc/u/admin/request/after/GET/claimsvc/users", b""))


async def test_u14_a_connection_given_up_while_a_thread_establishes_it_does_not_stay(shared_world: World) -> None:
    """The thread goes on, and what it establishes is closed: no task and no socket is left of it."""

    async def connect() -> None:
        async with open_caller(options(shared_world)):
            pass

    for _ in range(20):
        connecting = asyncio.create_task(connect())
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "mqtt keep-alive"] == []
    gc.collect()  # which complains of what was left open
