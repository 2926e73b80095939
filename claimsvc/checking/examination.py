"""The examination of the live system, in its order: what is looked at, what needs the throw-away accounts."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec

from claimsvc.checking import entering, limits, read_checks, write_checks
from claimsvc.checking.finding import Finding, Seen, UnseenError, Verdict, passed_or, unseen
from claimsvc.checking.probing import see_answer
from claimsvc.checking.scene import Scene, Site, set_up
from claimsvc.immutable import immutable
from claimsvc.mqtt.caller import Caller, CallerError, open_caller

P = ParamSpec("P")

Tell = Callable[[Finding], None]


@immutable
class Probe(Generic[P]):
    """One thing to look at: its area, what ought to be so, and how to see whether it is."""

    area: str
    name: str
    look: Callable[P, Awaitable[Seen]]

    async def finding(self, *arguments: P.args, **options: P.kwargs) -> Finding:
        """Look, and return what is to be said; a look that fails is no verdict."""
        try:
            seen = await self.look(*arguments, **options)
        except UnseenError as error:
            return unseen(self.area, self.name, error, error.change)
        except CallerError as error:
            return unseen(self.area, self.name, error)
        return passed_or(self.area, self.name, seen.troubles, seen.change, seen=seen.seen, as_warning=seen.as_warning)


_ANSWERS = "the service answers"
_ALONE: tuple[Probe[[Site, Caller]], ...] = (
    Probe("broker", "the broker is Mosquitto 2.0 or newer", entering.see_version),
    Probe("broker", "it has dropped nothing since its start", entering.see_losses),
    Probe("broker", "the service's own connection is private", entering.see_transport),
    Probe("broker", "many messages may be on their way", limits.see_granted),
    Probe("broker", _ANSWERS, see_answer),
    Probe("logins", "nobody gets in without a login", entering.see_anonymous),
)
"""What the service's own login is enough for."""

_ON_STAGE: tuple[Probe[[Scene]], ...] = (
    Probe("logins", "nobody gets in with a wrong password", entering.see_wrong_password),
    Probe("logins", "the plugin is where it is expected", entering.see_plugin),
    Probe("lanes", "nobody writes into another's lane", write_checks.see_foreign_lanes),
    Probe("lanes", "nobody speaks as the service", write_checks.see_impersonation),
    Probe("lanes", "a lane is open at its own topics only", write_checks.see_own_lane),
    Probe("lanes", "nobody writes into another client id's lane", write_checks.see_client_lanes),
    Probe("lanes", "a denied message costs nobody the connection", write_checks.see_denials),
    Probe("lanes", "nobody reads another's lane", read_checks.see_names),
    Probe("lanes", "nobody reads by a wildcard", read_checks.see_wildcards),
    Probe("lanes", "nobody reads by a shared subscription", read_checks.see_shared_subscriptions),
    Probe("lanes", "a Response Topic leads nowhere else", read_checks.see_response_topics),
    Probe("limits", "the largest request gets through", limits.see_sizes),
    Probe("limits", "what waits for the service is kept", limits.see_queue),
)
"""What needs accounts that nobody misses."""


async def examine_live(site: Site, tell: Tell) -> None:
    """Examine the broker and the running service, and tell each finding as it is found.

    Raises CallerError where not even the service's own login gets in: then nothing was told.
    """
    async with open_caller(site.service) as service:
        findings = [await _told(tell, probe.finding(site, service)) for probe in _ALONE]
        answers = next(each for each in findings if each.name == _ANSWERS)
        if answers.verdict is Verdict.PASS:
            await _examine_on_stage(site, service, tell)
            return
        for waiting in _ON_STAGE:
            tell(unseen(waiting.area, waiting.name, "the service does not answer"))


async def _told(tell: Tell, finding: Awaitable[Finding]) -> Finding:
    found = await finding
    tell(found)
    return found


async def _examine_on_stage(site: Site, service: Caller, tell: Tell) -> None:
    waiting = deque(_ON_STAGE)
    try:
        async with set_up(site, service, tell) as scene:
            while waiting:
                tell(await waiting[0].finding(scene))
                waiting.popleft()
    except CallerError as error:
        for probe in waiting:
            tell(unseen(probe.area, probe.name, error))
