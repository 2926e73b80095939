"""Settings: defaults, overridden by the TOML file, overridden by CLAIMSVC_<SECTION>__<KEY> from the environment.

They are read once, at the start. Unknown keys are errors, because a misspelt setting must not go unnoticed.
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
    """A setting is invalid; the text names it."""


class SecurityTokenPolicy(StrEnum):
    """The use of security tokens when a device is accepted."""

    IGNORED = "IGNORED"
    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class CredentialStore(StrEnum):
    """The keeper of the broker's logins: the plugin reads the database, or a password file, or none of both."""

    PLUGIN = "plugin"
    PASSWORD_FILE = "password_file"  # noqa: S105 - a name
    NONE = "none"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Mqtt(_Section):
    """The connection to the broker."""

    host: str = "127.0.0.1"
    """Host name or address of the broker."""
    port: Annotated[int, Field(gt=0, lt=65536)] = 1883
    """Port of the broker."""
    username: Annotated[str, Field(min_length=1)] = "claimsvc"
    """The service's login on the broker. If you change it, change it also in the ACL file and in the plugin's option
    `service_username`."""
    password: SecretStr | None = None
    """Password of this login. If it is not set, the service generates one and saves it in `data_dir`, unless
    `credentials.store` is `"none"`. Use a random password: wrong passwords never lock this login."""
    password_path: Path | None = None
    """File with the password, instead of `password`. Keeps the secret out of settings and environment."""
    tls: bool = False
    """Connect with TLS and verify the broker's name."""
    tls_ca: Path | None = None
    """CA certificates to trust instead of the system's."""
    tls_certificate: Path | None = None
    """The service's client certificate, if the broker requires one."""
    tls_key: Path | None = None
    """Private key of the client certificate."""
    root: str = "claimsvc"
    """First level of all topics of the service."""
    keepalive_s: Annotated[int, Field(ge=5, le=65535)] = 30
    """MQTT keepalive in seconds."""
    session_expiry_s: Annotated[int, Field(gt=0, le=4_294_967_295)] = 4_294_967_295
    """MQTT session expiry in seconds: how long the broker queues requests while the service is disconnected. By
    default for ever."""
    receive_maximum: Annotated[int, Field(ge=512, le=65535)] = 2_000
    """MQTT receive maximum: how many unacknowledged requests the broker sends at a time. Each of them takes memory in
    the service."""
    reconnect_max_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest pause between two attempts to connect to the broker, in seconds."""

    @model_validator(mode="after")
    def _consistent(self) -> Mqtt:
        if self.password is not None and self.password_path is not None:
            raise ValueError("set either mqtt.password or mqtt.password_path, not both")
        if (
            not self.root.isprintable()
            or not self.root
            or self.root.strip("$/") != self.root
            or set("+#") & set(self.root)
        ):
            raise ValueError(
                "mqtt.root: must be a topic of printable characters without + and #, and must not begin or end "
                "with / or $"
            )
        return self


class Store(_Section):
    """The SQLite database."""

    path: Path = Path("data/claimsvc.db")
    """File of the database. The service must be able to write to its directory."""
    events_days: Annotated[int, Field(gt=0, le=36_500)] = 365
    """Audit events are kept for this many days."""


class Claim(_Section):
    """ThingsBoard's claim settings, and lockouts."""

    allow_by_default: bool = True
    """If true, any device may open a claim window. If false, only a device whose attribute `claimingAllowed` is
    `true`. ThingsBoard's `security.claim.allowClaimingByDefault`."""
    default_duration_ms: Milliseconds = DAY_MS
    """Duration of a claim window in milliseconds, if the device does not specify it. ThingsBoard's
    `device.claim.duration`."""
    max_duration_ms: Milliseconds = DAY_MS
    """Longest duration of a claim window in milliseconds; longer ones are shortened to it. ThingsBoard's
    `claimDevices.timeToLiveInMinutes`."""
    server_duration_ms: Milliseconds = 365 * DAY_MS
    """Validity of a key from a list of claim keys in milliseconds, if its row has no `expirationTime`."""
    max_attempts: Annotated[int, Field(gt=0)] = 5
    """Failed claims of one user at one device that cause a lockout."""
    lockout_ms: Milliseconds = 900_000
    """First lockout in milliseconds; doubles each time."""
    max_failures_per_hour: Annotated[int, Field(gt=0)] = 20
    """Failed claims of one user within an hour, at all devices together, that cause a lockout from all devices."""
    rotate_on_release: bool = False
    """If true, a released device gets new credentials, which its former owner does not know."""


class Credentials(_Section):
    """Issued logins."""

    store: CredentialStore = CredentialStore.PLUGIN
    """The keeper of the broker's logins. `"plugin"`: the broker's plugin reads them from the database.
    `"password_file"`: the service writes Mosquitto's password file. `"none"`: you manage the logins yourself."""
    reissue_window_ms: Milliseconds = 600_000
    """The service can repeat an issued login for this many milliseconds. Afterwards only its hash is stored."""
    overlap_ms: Annotated[int, Field(ge=0, le=30 * DAY_MS)] = 3_600_000
    """Old credentials stay valid for this many milliseconds after a rotation, unless the request specifies another
    time. A device can only request a shorter time."""
    pbkdf2_iterations: Annotated[int, Field(ge=3, le=8_000)] = 4_000
    """PBKDF2 iterations for passwords that humans choose. The broker hashes in its only thread: with 8 000, each
    login delays all clients by about 5 ms. Generated passwords use 2."""
    password_file: Path = Path("data/mosquitto.passwd")
    """Mosquitto's `password_file`; used if `store` is `"password_file"`."""
    broker_pid_file: Path | None = None
    """Mosquitto's `pid_file`. The service sends SIGHUP to this process after a change of the password file."""
    reload_command: tuple[str, ...] = ()
    """Command to run instead of sending SIGHUP, if the service may not signal the broker."""


class Registration(_Section):
    """Cumulocity's device registration."""

    security_token_policy: SecurityTokenPolicy = SecurityTokenPolicy.OPTIONAL
    """The operator who accepts a device must type the security token that it shows: never (`"IGNORED"`), if the
    device sent one (`"OPTIONAL"`), or always (`"REQUIRED"`). Cumulocity's `security-token.policy`."""
    max_token_failures: Annotated[int, Field(gt=0)] = 5
    """Wrong security tokens or one-time passwords before a request is BLOCKED."""
    enrollment_ms: Milliseconds = 7 * DAY_MS
    """Validity of a one-time password in milliseconds."""
    device_limit: Annotated[int, Field(ge=0)] = 0
    """Largest number of devices of a tenant, however they were created; 0 means no limit. Registering an existing
    device again does not count."""


class Devices(_Section):
    """Creation of devices."""

    auto_create: bool = True
    """If true, an unknown login that opens a claim window becomes a device of the default tenant."""


class Tenants(_Section):
    """Tenants."""

    default: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "default"
    """The tenant that unknown logins belong to."""

    @field_validator("default")
    @classmethod
    def _not_management(cls, value: str) -> str:
        if value == "management":
            raise ValueError('"management" cannot be the default tenant: its admins can create tenants')
        return value


class Limits(_Section):
    """Limits on the size and number of requests. A larger request gets the error `too_large`."""

    payload_bytes: Bytes = 65_536
    """Payload of a request in bytes, except those below."""
    gateway_bytes: Bytes = 1_048_576
    """Payload of a gateway's claim message in bytes."""
    gateway_devices: Annotated[int, Field(gt=0)] = 10_000
    """Devices in one gateway message."""
    bulk_bytes: Bytes = 16_777_216
    """Size of a file of devices or of claim keys in bytes."""
    bulk_rows: Annotated[int, Field(gt=0)] = 100_000
    """Rows of such a file."""
    requests_per_minute: Annotated[int, Field(ge=0, le=6_000_000)] = 6_000
    """Requests of one principal per minute; a sixth of them may come at once. 0 means no limit. Further requests get
    the error `rate_limited` and are not executed, so that one client cannot delay all others."""


class Requests(_Section):
    """REST over MQTT."""

    repeat_window_ms: Milliseconds = 600_000
    """A repeated request ID returns the first answer for this many milliseconds."""


class Log(_Section):
    """Logs on standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Messages below this level are not logged."""
    format: Literal["auto", "json", "text"] = "auto"
    """`"json"`: a JSON object per line. `"text"`: coloured text. `"auto"`: text on a terminal, otherwise JSON."""


class Metrics(_Section):
    """Prometheus metrics."""

    port: Annotated[int, Field(ge=0, lt=65536)] = 0
    """Port for Prometheus to scrape; 0 disables the metrics."""
    host: str = "127.0.0.1"
    """Address to listen on. Metrics contain no secrets, but anyone who can reach the port can read them."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path | None = None
    """Directory of the service's key files, client id and broker password. By default the directory of `store.path`.
    For any other directory, set the plugin's option `token_key`. Existing files are not moved."""
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
        """Give the environment precedence over the file, whose content is passed as arguments."""
        return env_settings, init_settings

    @property
    def key_path(self) -> Path:
        """The file with the key for hashes and encryption."""
        return self._own_file("service.key")

    @property
    def token_key_path(self) -> Path:
        """The file with the key for access tokens. The broker's plugin reads it too."""
        return self._own_file("token.key")

    @property
    def client_id_path(self) -> Path:
        return self._own_file("client-id")

    @property
    def broker_password_path(self) -> Path:
        """The file with the password that the service generates for its own login."""
        return self._own_file("broker-password")

    def _own_file(self, name: str) -> Path:
        return (self.data_dir or self.store.path.parent) / name

    def mqtt_password(self) -> str | None:
        """Return the service's password on the broker. Raises SettingsError if its file cannot be read."""
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
        raise SettingsError(f"{error}: in the environment, write a list as JSON") from None


def _no_unknown_variables() -> None:
    for name in os.environ:
        if not name.upper().startswith(ENVIRONMENT_PREFIX) or name in environment.ALL:
            continue
        section, separator, _key = name[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
        if bool(separator) is (section in _ALONE) or section not in Settings.model_fields:
            raise SettingsError(f"{name}: no such setting; use CLAIMSVC_<SECTION>__<KEY>")


_ALONE = {"data_dir"}
"""Keys outside of any section."""
_WORDS = {
    "extra_forbidden": "no such setting",
    "bool_parsing": '"{}" is not true or false',
    "bool_type": '"{}" is not true or false',
    "int_from_float": '"{}" is not a whole number',
    "int_parsing": '"{}" is not a whole number',
    "int_type": '"{}" is not a whole number',
}
"""Own texts by kind of error, to replace pydantic's jargon; `{}` is the value."""


def _text(error: ValidationError) -> str:
    texts = []
    for item in error.errors():
        name = ".".join(map(str, item["loc"])) or "settings"
        own = _WORDS.get(item["type"])
        texts.append(f"{name}: {own.format(item['input']) if own else item['msg']}")
    return "; ".join(texts)
