"""A round trip: one request through the broker and the database, and its answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from pydantic_core import from_json

from claimsvc.checking.calls import Calls
from claimsvc.checking.finding import Seen
from claimsvc.checking.scene import Site
from claimsvc.mqtt.caller import Caller, CallerError, CallerOptions, Heard, open_caller

_QUESTION = "/claimsvc/tenants?limit=1"
"""Loads a permission and reads a page, and so uses both connections to the database."""


class UnhealthyError(CallerError):
    """The service does not answer as it should."""


async def round_trip(options: CallerOptions, root: str) -> float:
    """Send a request with the service's login and return the seconds until its answer. Raises CallerError.

    The request has QoS 0: while the service is down, the broker must not queue one for each check.
    """
    if options.username is None:
        raise UnhealthyError("the service has no username on the broker")
    async with open_caller(options) as caller:
        offline = asyncio.get_running_loop().create_future()

        def hear(heard: Heard) -> None:
            with suppress(ValueError, KeyError, TypeError):
                if from_json(heard.payload)["state"] == "offline" and not offline.done():
                    offline.set_result(None)

        with caller.listening(f"{root}/status", hear):
            await caller.subscribe(f"{root}/status")
            began = time.monotonic()
            asking = asyncio.ensure_future(Calls(caller, root, options.username).ask("GET", _QUESTION, qos=0))
            try:
                await asyncio.wait({asking, offline}, return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    raise UnhealthyError(f"the service is offline (topic {root}/status)")
                answer = asking.result()
            finally:
                asking.cancel()
    if answer.status != 200:  # noqa: PLR2004 - HTTP's
        raise UnhealthyError(f"the service answered with an error: {answer.told}")
    return time.monotonic() - began


async def see_answer(site: Site, service: Caller) -> Seen:
    """Check that the service answers."""
    try:
        took_s = await round_trip(site.service, site.root)
    except CallerError as error:
        return Seen([str(error)], "start the service, or see its log: the checks that follow need it")
    return Seen(seen=f"in {took_s * 1_000:.0f} ms")
