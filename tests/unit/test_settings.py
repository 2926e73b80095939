from __future__ import annotations

import os
from pathlib import Path

import pytest

from claimsvc import environment
from claimsvc.settings import DAY_MS, CredentialStore, Settings, SettingsError, load


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("CLAIMSVC_")]:
        monkeypatch.delenv(name)


def _toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "claimsvc.toml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    """Without file and environment the documented defaults are used."""
    settings = load(None)
    assert settings == Settings()
    claim = settings.claim
    assert (claim.allow_by_default, claim.max_attempts, claim.lockout_ms) == (True, 5, 900_000)
    assert claim.default_duration_ms == claim.max_duration_ms == DAY_MS
    assert (settings.devices.auto_create, settings.tenants.default) == (True, "default")
    assert settings.credentials.reissue_window_ms == settings.requests.repeat_window_ms == 600_000
    assert (settings.credentials.overlap_ms, claim.rotate_on_release) == (3_600_000, False)
    assert (settings.limits.payload_bytes, settings.limits.gateway_bytes) == (65_536, 1_048_576)
    assert settings.mqtt.root == "claimsvc"


def test_file_is_read(tmp_path: Path) -> None:
    """Every section of the file counts; what it leaves out keeps its default."""
    text = '[claim]\nmax_attempts = 3\n[credentials]\nstore = "none"\n[store]\npath = "/x/y.db"\n'
    settings = load(_toml(tmp_path, text))
    assert (settings.claim.max_attempts, settings.claim.lockout_ms) == (3, 900_000)
    assert settings.credentials.store is CredentialStore.NONE
    assert (settings.store.path, settings.key_path) == (Path("/x/y.db"), Path("/x/service.key"))


def test_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces the file's value of that key, and no other key of its section."""
    monkeypatch.setenv("CLAIMSVC_CLAIM__MAX_ATTEMPTS", "7")
    monkeypatch.setenv("CLAIMSVC_CONFIG", "/not/a/setting")
    settings = load(_toml(tmp_path, "[claim]\nmax_attempts = 3\nlockout_ms = 5\n"))
    assert (settings.claim.max_attempts, settings.claim.lockout_ms) == (7, 5)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[claim]\nmax_attemps = 3", "claim.max_attemps: no such setting"),
        ("[claims]\nmax_attempts = 3", "claims: no such setting"),
        ("max_attempts = 3", "max_attempts: no such setting"),
        ("[mqtt.tls]\nca = 'x'", "mqtt.tls"),
    ],
)
def test_unknown_key_of_the_file_is_named(tmp_path: Path, text: str, name: str) -> None:
    """A misspelt setting must not be a silent default."""
    with pytest.raises(SettingsError, match=name.replace(".", r"\.")):
        load(_toml(tmp_path, text))


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("CLAIMSVC_CLAIM__MAX_ATTEMPS", "claim.max_attemps"),
        ("CLAIMSVC_CLAIMS__MAX_ATTEMPTS", "CLAIMSVC_CLAIMS__MAX_ATTEMPTS"),
        ("CLAIMSVC_MAX_ATTEMPTS", "CLAIMSVC_MAX_ATTEMPTS"),
        ("CLAIMSVC_CLAIM", "CLAIMSVC_CLAIM"),
        ("CLAIMSVC_DATA_DIR__PATH", "CLAIMSVC_DATA_DIR__PATH"),
        ("CLAIMSVC_CLAIM_MAX_ATTEMPTS", "CLAIMSVC_CLAIM_MAX_ATTEMPTS"),
        ("CLAIMSVC_", "CLAIMSVC_"),
        ("CLAIMSVC_OPERATOR_URI", "CLAIMSVC_OPERATOR_URI"),
    ],
)
def test_unknown_variable_is_named(variable: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in the environment."""
    monkeypatch.setenv(variable, "3")
    with pytest.raises(SettingsError, match=name.replace(".", r"\.")):
        load(None)


@pytest.mark.parametrize("variable", sorted(environment.ALL))
def test_what_commands_read_is_no_setting(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's variables do not keep the service from its start."""
    monkeypatch.setenv(variable, "anything")
    assert load(None) == Settings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("claim.max_attempts", "0"),
        ("claim.lockout_ms", "-1"),
        ("claim.max_duration_ms", "soon"),
        ("claim.allow_by_default", "perhaps"),
        ("mqtt.port", "0"),
        ("mqtt.port", "65536"),
        ("mqtt.keepalive_s", "4"),
        ("mqtt.receive_maximum", "511"),
        ("mqtt.receive_maximum", "65536"),
        ("credentials.store", "dynamic"),
        ("credentials.pbkdf2_iterations", "0"),
        ("credentials.pbkdf2_iterations", "2"),
        ("credentials.pbkdf2_iterations", "8001"),
        ("tenants.default", "a/b"),
        ("tenants.default", ""),
        ("limits.payload_bytes", "0"),
        ("limits.payload_bytes", "268435456"),
        ("log.level", "loud"),
        ("log.format", "xml"),
        ("metrics.port", "-1"),
        ("store.events_days", "0"),
        ("credentials.reload_command", "systemctl reload mosquitto"),
    ],
)
def test_bad_value_names_its_key(key: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be is an error with the key's name."""
    monkeypatch.setenv(f"CLAIMSVC_{key.replace('.', '__').upper()}", value)
    with pytest.raises(SettingsError, match=key.partition(".")[0]):
        load(None)


@pytest.mark.parametrize("root", ["", "+", "a/#", "$SYS", "/a", "a\0b"])
def test_root_is_a_topic(root: str, tmp_path: Path) -> None:
    """The first level of every topic must be publishable."""
    with pytest.raises(SettingsError, match=r"mqtt\.root"):
        load(_toml(tmp_path, f"[mqtt]\nroot = {_quoted(root)}\n"))


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\u{ord(sign):04x}" for sign in text) + '"'


@pytest.mark.parametrize("root", ["a\nb", "a\ufffeb"])
def test_root_no_broker_takes_is_an_error(root: str, tmp_path: Path) -> None:
    """A control character would have the broker cut every connection of ours."""
    with pytest.raises(SettingsError, match=r"mqtt\.root"):
        load(_toml(tmp_path, f"[mqtt]\nroot = {_quoted(root)}\n"))


@pytest.mark.parametrize("content", [b"[claim", b"claim = ", b"\xff"])
def test_file_that_is_no_toml_is_an_error(content: bytes, tmp_path: Path) -> None:
    """The text names the file, also when it is no text at all."""
    path = tmp_path / "claimsvc.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"claimsvc\.toml"):
        load(path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(SettingsError, match=r"none\.toml"):
        load(tmp_path / "none.toml")


def test_settings_are_frozen() -> None:
    """Read once, never changed."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings().claim, "max_attempts", 9)  # noqa: B010 - mypy knows better than to allow it


# --- the password


@pytest.mark.parametrize("password", ["hunter2", "12345", '{"a":1}', "ä"])
def test_password_is_masked(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is given where it is asked for, and in no representation."""
    monkeypatch.setenv("CLAIMSVC_MQTT__PASSWORD", password)
    settings = load(None)
    assert settings.mqtt_password() == password
    assert password not in repr(settings)
    assert password not in str(settings)
    assert password not in settings.model_dump_json()


def test_password_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's line end is not part of it."""
    (tmp_path / "password").write_text("hunter2\n")
    monkeypatch.setenv("CLAIMSVC_MQTT__PASSWORD_PATH", str(tmp_path / "password"))
    assert load(None).mqtt_password() == "hunter2"


def test_missing_password_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the key and the path."""
    monkeypatch.setenv("CLAIMSVC_MQTT__PASSWORD_PATH", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"mqtt\.password_path.*none"):
        load(None).mqtt_password()


def test_no_password_is_none() -> None:
    """Then the composition root decides."""
    assert load(None).mqtt_password() is None


def test_two_passwords_are_an_error_that_shows_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which one was meant, also when file and environment give one each."""
    monkeypatch.setenv("CLAIMSVC_MQTT__PASSWORD", "hunter2")
    with pytest.raises(SettingsError, match="not both") as caught:
        load(_toml(tmp_path, '[mqtt]\npassword_path = "/x"\n'))
    assert "hunter2" not in str(caught.value)


def test_the_services_own_files_lie_beside_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless `data_dir` names another folder, in the file or in the environment."""
    config = tmp_path / "claimsvc.toml"
    config.write_text('[store]\npath = "/data/a.db"\n')
    settings = load(config)
    own = (settings.key_path, settings.token_key_path, settings.client_id_path, settings.broker_password_path)
    assert [str(path) for path in own] == [
        "/data/service.key",
        "/data/token.key",
        "/data/client-id",
        "/data/broker-password",
    ]
    config.write_text('data_dir = "/own"\n[store]\npath = "/data/a.db"\n')
    assert (load(config).key_path, load(config).store.path) == (Path("/own/service.key"), Path("/data/a.db"))
    monkeypatch.setenv("CLAIMSVC_DATA_DIR", "/other")
    assert load(config).client_id_path == Path("/other/client-id")
