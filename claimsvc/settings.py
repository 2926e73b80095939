"""Settings: defaults, then the TOML file, then CLAIMSVC_<SECTION>__<KEY> from the environment. Read once.

Unknown keys are errors wherever they stand: a misspelt setting must not be a silent default.
"""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnparsableError

from claimsvc import environment

DAY_MS = 86_400_000
ENVIRONMENT_PREFIX = "CLAIMSVC_"

Milliseconds = Annotated[int, Field(gt=0, le=2**53)]
Bytes = Annotated[int, Field(gt=0, le=268_435_455)]


class SettingsError(Exception):
    """A setting cannot be used; the text names it."""


class SecurityTokenPolicy(StrEnum):
    """Whether a device's security token must be shown for its acceptance."""

    IGNORED = "IGNORED"
    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class CredentialStore(StrEnum):
    """Who keeps the broker's logins: the plugin looks them up here, a password file is written, or somebody else."""

    PLUGIN = "plugin"
    PASSWORD_FILE = "password_file"  # noqa: S105 - a name
    NONE = "none"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Mqtt(_Section):
    """The connection to the broker."""

    host: str = "127.0.0.1"
    """Where the broker is."""
    port: Annotated[int, Field(gt=0, lt=65536)] = 1883
    """Where it listens."""
    username: Annotated[str, Field(min_length=1)] = "claimsvc"
    """The service's own login at the broker. The broker's ACL, and the plugin's `service_username`, name it too."""
    password: SecretStr | None = None
    """Its password. Without one, and unless `credentials.store` is `"none"`, one is made up and kept beside the
    store. Use a random one: the broker compares it at every try and never locks it."""
    password_path: Path | None = None
    """A file that holds the password, for those who keep secrets out of settings and environment."""
    tls: bool = False
    """Whether to connect by TLS, and check the broker's name."""
    tls_ca: Path | None = None
    """CA certificates to trust instead of the system's."""
    tls_certificate: Path | None = None
    """The service's own certificate, for a broker that asks for one."""
    tls_key: Path | None = None
    """Its key."""
    root: str = "claimsvc"
    """The first level of every topic of ours."""
    keepalive_s: Annotated[int, Field(ge=5, le=65535)] = 30
    """How often at least the two of us hear of each other."""
    session_expiry_s: Annotated[int, Field(gt=0, le=4_294_967_295)] = 4_294_967_295
    """How long the broker keeps our session and its queue while we are away; the default is for ever."""
    receive_maximum: Annotated[int, Field(ge=512, le=65535)] = 2_000
    """How many requests the broker hands us at a time, and so what they cost us in memory."""
    reconnect_max_s: Annotated[float, Field(gt=0)] = 30.0
    """The longest pause before the next try, when the broker is away."""

    @model_validator(mode="after")
    def _consistent(self) -> Mqtt:
        if self.password is not None and self.password_path is not None:
            raise ValueError("give mqtt.password or mqtt.password_path, not both")
        if (
            not self.root.isprintable()
            or not self.root
            or self.root.strip("$/") != self.root
            or set("+#") & set(self.root)
        ):
            raise ValueError("mqtt.root is a topic without wildcards and odd characters")
        return self


class Store(_Section):
    """The SQLite file."""

    path: Path = Path("data/claimsvc.db")
    """The database. Its directory must be the service's to write to."""
    events_days: Annotated[int, Field(gt=0, le=36_500)] = 365
    """How long the audit trail is kept."""


class Claim(_Section):
    """ThingsBoard's claim settings and the lockouts."""

    allow_by_default: bool = True
    """Whether any device may open a window; else only one whose `claimingAllowed` is `true`.
    ThingsBoard's `security.claim.allowClaimingByDefault`."""
    default_duration_ms: Milliseconds = DAY_MS
    """How long a window lasts whose device does not say. ThingsBoard's `device.claim.duration`."""
    max_duration_ms: Milliseconds = DAY_MS
    """The longest window; a longer one is cut to it. ThingsBoard's `claimDevices.timeToLiveInMinutes`."""
    server_duration_ms: Milliseconds = 365 * DAY_MS
    """How long a key from a list of claim keys is good where its row names no end."""
    max_attempts: Annotated[int, Field(gt=0)] = 5
    """Failures of one user at one device before that user has to wait."""
    lockout_ms: Milliseconds = 900_000
    """How long then; each time twice as long as before."""
    max_failures_per_hour: Annotated[int, Field(gt=0)] = 20
    """Failures of one user within an hour, over all devices, before that user has to wait likewise."""
    rotate_on_release: bool = False
    """Whether a released device gets new credentials, which a former owner does not know."""


class Credentials(_Section):
    """Where issued logins go."""

    store: CredentialStore = CredentialStore.PLUGIN
    """Who keeps the broker's logins: the plugin looks them up in our store, we write Mosquitto's password file, or
    somebody else."""
    reissue_window_ms: Milliseconds = 600_000
    """How long a login that was issued can be given again; afterwards only its hash is left."""
    overlap_ms: Annotated[int, Field(ge=0, le=30 * DAY_MS)] = 3_600_000
    """How long what is rotated stays valid, unless the request says otherwise; a device may ask for less only."""
    pbkdf2_iterations: Annotated[int, Field(ge=3, le=8_000)] = 4_000
    """For passwords people choose. The broker hashes in its only thread: 8 000 cost everybody about 5 ms.
    Generated passwords take 2."""
    password_file: Path = Path("data/mosquitto.passwd")
    """Mosquitto's `password_file`, with `"password_file"` as the store."""
    broker_pid_file: Path | None = None
    """Mosquitto's `pid_file`: who gets SIGHUP after a change."""
    reload_command: tuple[str, ...] = ()
    """Run instead of SIGHUP, where the service may not signal the broker."""


class Registration(_Section):
    """Cumulocity's device registration."""

    security_token_policy: SecurityTokenPolicy = SecurityTokenPolicy.OPTIONAL
    """Whether who accepts a device must type the security token it shows. Cumulocity's `security-token.policy`."""
    max_token_failures: Annotated[int, Field(gt=0)] = 5
    """Wrong security tokens, or one-time passwords, before a request is BLOCKED."""
    enrollment_ms: Milliseconds = 7 * DAY_MS
    """How long a one-time password is good for."""
    device_limit: Annotated[int, Field(ge=0)] = 0
    """Devices a tenant may have, of any origin; 0 is no limit. A device that is known needs no new place."""


class Devices(_Section):
    """What happens on a device's first word."""

    auto_create: bool = True
    """Whether a login nobody knows becomes a device of the default tenant when it opens a window."""


class Tenants(_Section):
    """Tenants."""

    default: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "default"
    """Whose devices unknown logins are."""

    @field_validator("default")
    @classmethod
    def _not_management(cls, value: str) -> str:
        if value == "management":
            raise ValueError("the management tenant's admins make tenants; it cannot be everybody's")
        return value


class Limits(_Section):
    """How large, and how many, requests may be. What is larger is answered `too_large`."""

    payload_bytes: Bytes = 65_536
    """Any request but those below."""
    gateway_bytes: Bytes = 1_048_576
    """A gateway's claim message."""
    gateway_devices: Annotated[int, Field(gt=0)] = 10_000
    """Devices in one gateway message."""
    bulk_bytes: Bytes = 16_777_216
    """Files of devices and of claim keys."""
    bulk_rows: Annotated[int, Field(gt=0)] = 100_000
    """Rows of such a file."""
    requests_per_minute: Annotated[int, Field(ge=0, le=6_000_000)] = 6_000
    """Requests of one principal, a sixth of them at once, so that one client cannot stand before everybody else; 0 is
    no limit. What is more is answered `rate_limited`, and nothing is done."""


class Requests(_Section):
    """REST over MQTT."""

    repeat_window_ms: Milliseconds = 600_000
    """How long a request id stands for its first answer."""


class Log(_Section):
    """Logs on standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is less is left out."""
    format: Literal["auto", "json", "text"] = "auto"
    """JSON lines or coloured text; by default text on a terminal, else JSON."""


class Metrics(_Section):
    """Prometheus metrics."""

    port: Annotated[int, Field(ge=0, lt=65536)] = 0
    """Where Prometheus may fetch them; 0 means nowhere."""
    host: str = "127.0.0.1"
    """The address to listen on. They tell nobody's secrets, but need no login either."""


class Settings(BaseSettings):
    """Everything an operator can choose."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path | None = None
    """The folder of the service's key files, client id and broker password; by default the folder of `store.path`. In
    another folder the plugin needs its option `token_key`. Files that exist are not moved."""
    mqtt: Mqtt = Mqtt()
    store: Store = Store()
    claim: Claim = Claim()
    credentials: Credentials = Credentials()
    registration: Registration = Registration()
    devices: Devices = Devices()
    tenants: Tenants = Tenants()
    limits: Limits = Limits()
    requests: Requests = Requests()
    log: Log = Log()
    metrics: Metrics = Metrics()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose content comes as arguments."""
        return env_settings, init_settings

    @property
    def key_path(self) -> Path:
        """The key of hashes and encryption."""
        return self._own_file("service.key")

    @property
    def token_key_path(self) -> Path:
        """The key of access tokens, which the broker's plugin reads."""
        return self._own_file("token.key")

    @property
    def client_id_path(self) -> Path:
        return self._own_file("client-id")

    @property
    def broker_password_path(self) -> Path:
        """The password that the service creates for its own login."""
        return self._own_file("broker-password")

    def _own_file(self, name: str) -> Path:
        return (self.data_dir or self.store.path.parent) / name

    def mqtt_password(self) -> str | None:
        """Return the service's password at the broker. Raises SettingsError when its file cannot be read."""
        if self.mqtt.password_path is None:
            return self.mqtt.password.get_secret_value() if self.mqtt.password else None
        try:
            return self.mqtt.password_path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"mqtt.password_path: {error.strerror}: {self.mqtt.password_path}") from None


def load(path: Path | None) -> Settings:
    """Read the settings. Raises SettingsError."""
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text())
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from None
    _no_unknown_variables()
    try:
        return Settings(**content)
    except ValidationError as error:
        raise SettingsError(_text(error)) from None
    except UnparsableError as error:
        raise SettingsError(f"{error}: a list is written as JSON in the environment") from None


def _no_unknown_variables() -> None:
    for name in os.environ:
        if not name.upper().startswith(ENVIRONMENT_PREFIX) or name in environment.ALL:
            continue
        section, separator, _key = name[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
        if bool(separator) is (section in _ALONE) or section not in Settings.model_fields:
            raise SettingsError(f"{name} is no setting; settings are CLAIMSVC_<SECTION>__<KEY>")


_ALONE = {"data_dir"}
"""Keys of no section."""
_WORDS = {"extra_forbidden": "there is no such setting"}
"""By kind of error, where pydantic's text speaks of itself."""


def _text(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'settings'}: {_WORDS.get(item['type'], item['msg'])}"
        for item in error.errors()
    )
