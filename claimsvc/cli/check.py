"""The command `check`: examine settings, files and the live broker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from claimsvc.app import caller_options
from claimsvc.checking.conf import Conf, examine_conf, examine_no_conf, read_conf
from claimsvc.checking.examination import Tell, examine_live
from claimsvc.checking.file_checks import Files, examine_files, examine_logins, is_there
from claimsvc.checking.finding import Finding
from claimsvc.checking.scene import Site
from claimsvc.cli.configured import Config, read_settings, run
from claimsvc.cli.console import EXIT_INTERRUPTED, app, failure
from claimsvc.cli.report import JsonReport, Report, ScreenReport
from claimsvc.core.policy import BOOTSTRAP, PROVISION
from claimsvc.sealing import KeyFileError, Sealing, load_key
from claimsvc.settings import CredentialStore, Settings

_EXIT_FAILED = 1


@app.command("check")
def check_command(
    config: Config = None,
    mosquitto_conf: Annotated[
        Path | None,
        typer.Option("--mosquitto-conf", metavar="FILE", help="Also check this mosquitto.conf."),
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for each answer.")] = 10.0,
) -> None:
    """Check settings, files and the live broker. Tries attacks on the broker with temporary accounts.

    Run it on the service's machine, as the service's user, while the service runs. The service creates the accounts;
    they are deleted at the end.

    Exit codes: 0 nothing failed (warnings and skipped checks do not count), 1 a check failed, 2 the broker cannot be
    reached or an option or a file cannot be used, 130 interrupted.
    """
    settings = read_settings(config)
    try:
        conf = read_conf(mosquitto_conf) if mosquitto_conf is not None else None
    except OSError as error:
        raise failure(error) from None
    report: Report = JsonReport() if as_json else ScreenReport()
    with report.examining(settings):
        code = _examine(settings, conf, timeout, report)
    report.end(code)
    if code == EXIT_INTERRUPTED:
        raise failure(InterruptedError("interrupted; the temporary accounts are deleted"), code)
    raise typer.Exit(code)


def _examine(settings: Settings, conf: Conf | None, timeout_s: float, report: Report) -> int:
    """Report every finding and return the exit code."""
    try:
        for finding in _at_rest(settings, conf):
            report.tell(finding)
        run(_live(settings, timeout_s, report.tell))
    except typer.Exit as ended:
        return ended.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return _EXIT_FAILED if report.has_failed else 0


def _at_rest(settings: Settings, conf: Conf | None) -> Iterator[Finding]:
    """Yield the findings that need no broker."""
    has_plugin = settings.credentials.store is CredentialStore.PLUGIN
    if conf is not None:
        yield from examine_conf(conf, _largest_bytes(settings), with_plugin=has_plugin)
        passwords = [Path(value) for value in conf.all("password_file")]
    else:
        yield from examine_no_conf()
        given = settings.credentials.password_file
        passwords = [given] if not has_plugin or is_there(given) else []
    yield from examine_files(
        Files(
            database=settings.store.path,
            key=settings.key_path,
            fingerprint=lambda: Sealing(load_key(settings.key_path), 1).fingerprint,
            key_failure=KeyFileError,
            tenant=settings.tenants.default,
        )
    )
    yield examine_logins(passwords, is_known=conf is not None)


async def _live(settings: Settings, timeout_s: float, tell: Tell) -> None:
    # Treat SIGTERM as Ctrl-C, so that the temporary accounts are deleted.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT)
    site = Site(
        bootstrap=BOOTSTRAP,
        provision=PROVISION,
        service=caller_options(settings, timeout_s),
        root=settings.mqtt.root,
        tenant=settings.tenants.default,
        expects_plugin=settings.credentials.store is CredentialStore.PLUGIN,
        keeps_logins=settings.credentials.store is not CredentialStore.NONE,
        gateway_bytes=settings.limits.gateway_bytes,
        largest_bytes=_largest_bytes(settings),
    )
    await examine_live(site, tell)


def _largest_bytes(settings: Settings) -> int:
    """Return the largest payload that the service accepts, in bytes."""
    limits: dict[str, int] = settings.limits.model_dump()
    return max(value for name, value in limits.items() if name.endswith("_bytes"))
