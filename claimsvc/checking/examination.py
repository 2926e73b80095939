"""The checks of the live system, in their order: first those without, then those with temporary accounts."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec

from claimsvc.checking import entering, limits, read_checks, write_checks
from claimsvc.checking.finding import Finding, Seen, SkippedError, Verdict, passed_or, skipped
from claimsvc.checking.probing import see_answer
from claimsvc.checking.scene import Scene, Site, set_up
from claimsvc.immutable import immutable
from claimsvc.mqtt.caller import Caller, CallerError, open_caller

P = ParamSpec("P")

Tell = Callable[[Finding], None]


@immutable
class Probe(Generic[P]):
    """One check: its area, its name (what should be true) and the function that checks it."""

    area: str
    name: str
    look: Callable[P, Awaitable[Seen]]

    async def finding(self, *arguments: P.args, **options: P.kwargs) -> Finding:
        """Run the check and return its finding: skipped if the check itself fails."""
        try:
            seen = await self.look(*arguments, **options)
        except SkippedError as error:
            return skipped(self.area, self.name, error, error.change)
        except CallerError as error:
            return skipped(self.area, self.name, error)
        return passed_or(self.area, self.name, seen.troubles, seen.change, seen=seen.seen, as_warning=seen.as_warning)


_ANSWERS = "the service answers"
_ALONE: tuple[Probe[[Site, Caller]], ...] = (
    Probe("broker", "the broker is Mosquitto 2.0 or newer", entering.see_version),
    Probe("broker", "no messages dropped since the broker's start", entering.see_losses),
    Probe("broker", "the service's connection is local or uses TLS", entering.see_transport),
    Probe("broker", "the broker allows enough messages in flight", limits.see_granted),
    Probe("broker", _ANSWERS, see_answer),
    Probe("logins", "clients without a login are refused", entering.see_anonymous),
)
"""Checks that need the service's login only."""

_ON_STAGE: tuple[Probe[[Scene]], ...] = (
    Probe("logins", "wrong passwords are refused", entering.see_wrong_password),
    Probe("logins", "the plugin matches credentials.store", entering.see_plugin),
    Probe("lanes", "no client can publish into another lane", write_checks.see_foreign_lanes),
    Probe("lanes", "no client can impersonate the service", write_checks.see_impersonation),
    Probe("lanes", "a lane accepts only the topics of config/acl", write_checks.see_own_lane),
    Probe("lanes", "client id lanes are closed to other clients", write_checks.see_client_lanes),
    Probe("lanes", "a denied message does not disconnect", write_checks.see_denials),
    Probe("lanes", "no client can read another lane", read_checks.see_names),
    Probe("lanes", "no client can read lanes by wildcard", read_checks.see_wildcards),
    Probe("lanes", "no client can read by shared subscription", read_checks.see_shared_subscriptions),
    Probe("lanes", "a Response Topic cannot redirect answers", read_checks.see_response_topics),
    Probe("limits", "the largest request gets through", limits.see_sizes),
    Probe("limits", "queued messages are kept", limits.see_queue),
)
"""Checks that need temporary accounts."""


async def examine_live(site: Site, tell: Tell) -> None:
    """Check the broker and the running service; pass each finding to `tell` as it is found.

    Raises CallerError, before the first finding, if the service's own login cannot connect.
    """
    async with open_caller(site.service) as service:
        findings = [await _told(tell, probe.finding(site, service)) for probe in _ALONE]
        answers = next(each for each in findings if each.name == _ANSWERS)
        if answers.verdict is Verdict.PASS:
            await _examine_on_stage(site, service, tell)
            return
        for waiting in _ON_STAGE:
            tell(skipped(waiting.area, waiting.name, "the service does not answer"))


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
            tell(skipped(probe.area, probe.name, error))
