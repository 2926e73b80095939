"""The composition root: settings become objects here and nowhere else, and `serve` runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic_core import to_json

from claimsvc import __version__, clock, monitoring
from claimsvc.core.accounts import Establish
from claimsvc.core.claiming import ClaimNotice
from claimsvc.core.decision import Refused
from claimsvc.core.policy import BOOTSTRAP_ALIAS, LANELESS, Policy, SecurityTokenPolicy
from claimsvc.core.registration import CredentialsNotice
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.credentials import plugin
from claimsvc.credentials.logins import FileLogins
from claimsvc.credentials.password_file import EXCLUDED_FROM_LOGINS, MARKERS, BrokerReloadError, PasswordFile
from claimsvc.dialects import admin, cumulocity
from claimsvc.dialects.message import Limits
from claimsvc.dialects.rest import Router
from claimsvc.dialects.thingsboard import claim_topics, profile_calls, provision_topic
from claimsvc.dialects.thingsboard.device_calls import SECTION
from claimsvc.files import write_private
from claimsvc.log import Logger
from claimsvc.mqtt.caller import CallerOptions
from claimsvc.mqtt.client import ConnectOptions
from claimsvc.mqtt.door import Door
from claimsvc.mqtt.lanes import Lanes
from claimsvc.mqtt.session import Session, SessionOptions
from claimsvc.sealing import Sealing, client_id, load_key, password_matches, random_password
from claimsvc.service.execution import Service
from claimsvc.service.login_sync import LoginSync
from claimsvc.service.rates import Rates
from claimsvc.settings import CredentialStore, Settings, SettingsError
from claimsvc.store.contract import Store
from claimsvc.store.sqlite.sqlite_database import open_store

SECTIONS = (profile_calls.SECTION, SECTION, *cumulocity.SECTIONS, *admin.SECTIONS)
"""Every call of REST over MQTT."""
_FINGERPRINT, _DEFAULT_TENANT = "key_fingerprint", "default_tenant"


class WrongKeyError(Exception):
    """The key file is not the one this database was written with."""


def policy_of(settings: Settings) -> Policy:
    """Return what the rules are told of the settings."""
    keeps_logins = settings.credentials.store is not CredentialStore.NONE
    return Policy(
        allow_by_default=settings.claim.allow_by_default,
        default_duration_ms=settings.claim.default_duration_ms,
        max_duration_ms=settings.claim.max_duration_ms,
        server_duration_ms=settings.claim.server_duration_ms,
        max_attempts=settings.claim.max_attempts,
        lockout_ms=settings.claim.lockout_ms,
        max_failures_per_hour=settings.claim.max_failures_per_hour,
        auto_create=settings.devices.auto_create,
        default_tenant=settings.tenants.default,
        reserved_names=LANELESS | MARKERS | {settings.mqtt.username, BOOTSTRAP_ALIAS},
        issue_logins=keeps_logins,
        login_excludes=EXCLUDED_FROM_LOGINS if settings.credentials.store is CredentialStore.PASSWORD_FILE else "",
        reissue_window_ms=settings.credentials.reissue_window_ms,
        overlap_ms=settings.credentials.overlap_ms,
        overlapping_logins=settings.credentials.store is CredentialStore.PLUGIN,
        rotate_on_release=settings.claim.rotate_on_release,
        several_logins=settings.credentials.store is CredentialStore.PLUGIN,
        access_tokens=settings.credentials.store is CredentialStore.PLUGIN,
        security_token_policy=SecurityTokenPolicy(settings.registration.security_token_policy.value),
        max_token_failures=settings.registration.max_token_failures,
        enrollment_ms=settings.registration.enrollment_ms,
        device_limit=settings.registration.device_limit,
    )


def lanes_of(settings: Settings) -> Lanes:
    """Return every topic this service answers on."""
    limits = Limits(
        payload_bytes=settings.limits.payload_bytes,
        gateway_bytes=settings.limits.gateway_bytes,
        gateway_devices=settings.limits.gateway_devices,
        bulk_bytes=settings.limits.bulk_bytes,
        bulk_rows=settings.limits.bulk_rows,
    )
    router = Router(SECTIONS)
    endpoints = [
        *claim_topics.endpoints(limits),
        *provision_topic.endpoints(limits.payload_bytes),
        *cumulocity.endpoints(),
        router.endpoint(limits),
        *router.client_endpoints(limits),
    ]
    return Lanes(
        settings.mqtt.root,
        endpoints,
        {ClaimNotice: claim_topics.encode_notice, CredentialsNotice: cumulocity.encode_notice},
        admin.encode_event,
    )


def broker_password(settings: Settings) -> str | None:
    """Return the service's own password at the broker; where we keep its logins, made at the first start."""
    given = settings.mqtt_password()
    if given is not None or settings.credentials.store is CredentialStore.NONE:
        return given
    path = settings.broker_password_path
    if not path.exists():
        write_private(path, random_password() + "\n")
    return path.read_text().strip()


def caller_options(settings: Settings, timeout_s: float) -> CallerOptions:
    """Return how a command connects beside the service, as the service's own login under a client id of its own.

    Raises SettingsError, also where there is no password yet, or OSError.
    """
    path = settings.broker_password_path
    made = settings.mqtt_password() is not None or settings.credentials.store is CredentialStore.NONE
    if not made and not path.exists():
        raise SettingsError(f"there is no {path}: the service makes it at its first start")
    return CallerOptions(
        host=settings.mqtt.host,
        port=settings.mqtt.port,
        username=settings.mqtt.username,
        password=broker_password(settings),
        tls=_tls(settings),
        timeout_s=timeout_s,
    )


def _own_login(settings: Settings, sealing: Sealing, file: PasswordFile) -> tuple[str, str]:
    """Return the service's line; the hash in the file stays while it fits: no change for nothing."""
    password = broker_password(settings) or ""
    present = file.hash_of(settings.mqtt.username)
    if present is not None and password_matches(password, present):
        return settings.mqtt.username, present
    return settings.mqtt.username, sealing.password_hash(password, generated=True)


@asynccontextmanager
async def open_service(settings: Settings, log: Logger) -> AsyncIterator[Service]:
    """Open the store and the service on it.

    Raises StoreError, KeyFileError, WrongKeyError, SettingsError or PasswordFileError with a text for the operator.
    """
    async with open_store(settings.store.path) as store:
        sealing = Sealing(load_key(settings.key_path), settings.credentials.pbkdf2_iterations)
        await _check_belonging(store, sealing, settings)
        now = clock.Clock(clock.wall_ms, clock.steady_ms)
        logins: FileLogins | None = None
        if settings.credentials.store is CredentialStore.PASSWORD_FILE:
            file = _password_file(settings)
            logins = FileLogins(file, store, _own_login(settings, sealing, file), _logged(log), now)
        service = Service(
            store=store,
            sealing=sealing,
            policy=policy_of(settings),
            logins=LoginSync(logins, log, now),
            clock=now,
            repeat_window_ms=settings.requests.repeat_window_ms,
            log=log,
        )
        if logins is not None:
            await logins.write()  # the operator must learn first that a file cannot be written
        own: Secret | None = None
        if settings.credentials.store is CredentialStore.PLUGIN:
            # Hashed as a generated one even if the operator chose it: the broker compares it at every try.
            own = Secret(SecretKind.PASSWORD, broker_password(settings), is_generated=True)
            plugin.offer_token_key(settings.token_key_path, sealing.token_key)
            await _retire_password_file(_password_file(settings), log)
        (outcome,) = await service.execute_own([Establish(settings.mqtt.username, own)])
        if isinstance(outcome, Refused):
            raise SettingsError(f"mqtt.username: {outcome.message}")
        yield service


def door_of(settings: Settings, service: Service, log: Logger) -> Door:
    """Return the loop between the session and the service."""
    with_plugin = settings.credentials.store is CredentialStore.PLUGIN
    return Door(
        lanes=lanes_of(settings),
        service=service,
        rates=Rates(settings.limits.requests_per_minute),
        log=log,
        events_days=settings.store.events_days,
        end_sessions=plugin.end_sessions if with_plugin else None,
    )


def _password_file(settings: Settings) -> PasswordFile:
    credentials = settings.credentials
    return PasswordFile(credentials.password_file, credentials.broker_pid_file, credentials.reload_command)


async def _retire_password_file(file: PasswordFile, log: Logger) -> None:
    """Take our logins out of a password file of earlier: the broker would go on admitting those that end.

    Raises PasswordFileError.
    """
    if not await file.retire():
        return
    log.info("password_file_retired")
    try:
        await file.reload()
    except BrokerReloadError as error:
        log.error("logins_behind", error=f"{error}; reload or restart the broker")  # noqa: TRY400 - the text says all


async def _check_belonging(store: Store, sealing: Sealing, settings: Settings) -> None:
    """Hold the store to the key and the default tenant it was made with: its hashes and names depend on them."""
    if await _kept(store, _FINGERPRINT, sealing.fingerprint) != sealing.fingerprint:
        raise WrongKeyError("the key file does not belong to this database: restore the one it was made with")
    tenant = await _kept(store, _DEFAULT_TENANT, settings.tenants.default)
    if tenant != settings.tenants.default:
        raise SettingsError(f"tenants.default: this database was made with {tenant!r}, and its logins are named so")


async def _kept(store: Store, name: str, value: str) -> str:
    """Return the store's value of this name; the one given, kept from now on, where it has none."""
    known = await store.service_value(name)
    if known is None:
        await store.put_service_value(name, value)
    return value if known is None else known


def _session_options(settings: Settings) -> SessionOptions:
    mqtt = settings.mqtt
    dialects = lanes_of(settings)
    since = clock.wall_ms()
    connect = ConnectOptions(
        host=mqtt.host,
        port=mqtt.port,
        client_id=client_id(settings.client_id_path),
        username=mqtt.username,
        password=broker_password(settings),
        tls=_tls(settings),
        keepalive_s=mqtt.keepalive_s,
        session_expiry_s=mqtt.session_expiry_s,
        receive_maximum=mqtt.receive_maximum,
        will=dialects.status(to_json({"state": "offline", "version": __version__})),
    )
    return SessionOptions(
        connect=connect,
        filters=dialects.filters,
        lane_of=dialects.lane_of,
        online=dialects.status(to_json({"state": "online", "version": __version__, "since": since})),
        reconnect_max_s=mqtt.reconnect_max_s,
    )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    mqtt = settings.mqtt
    if not mqtt.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=mqtt.tls_ca)
        if mqtt.tls_certificate is not None:
            context.load_cert_chain(mqtt.tls_certificate, mqtt.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"mqtt.tls: {error}") from None
    return context


async def serve(settings: Settings, log: Logger) -> None:
    """Run the service until SIGTERM or SIGINT; then finish the batch and leave the session to the next start.

    Raises what `open_service` raises.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_service(settings, log) as service:
        door = door_of(settings, service, log)
        session = Session(
            _session_options(settings), lambda level, event, **fields: _report(log, level, event, fields)
        )
        monitoring.offer(settings, service, session)
        log.info("started", version=__version__, store=str(settings.store.path))
        async with asyncio.TaskGroup() as tasks:
            connecting = tasks.create_task(session.run(), name="session")
            handling = tasks.create_task(door.run(session), name="door")
            await stop.wait()
            log.info("stopping")
            door.stop()
            session.stop_reading()
            await handling
            await session.close()
            connecting.cancel()
    log.info("stopped")


def _notify_ready() -> None:
    """Tell who started us, as systemd asks for it (sd_notify), that requests are heard from now on."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
            sender.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


def _logged(log: Logger) -> Callable[[str, str, dict[str, object]], None]:
    return lambda level, event, fields: getattr(log, level)(event, **fields)


def _report(log: Logger, level: str, event: str, fields: dict[str, object]) -> None:
    """Log what the session tells, and keep the metrics that follow from it."""
    monitoring.note(event, fields)
    if event == "broker_connected":
        _notify_ready()
    getattr(log, level)(event, **fields)
