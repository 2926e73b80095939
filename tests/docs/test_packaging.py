"""Containers and units, as far as they can be tried without an engine and without a machine of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from claimsvc.settings import CredentialStore, load
from docs.generator.parts import ROOT

COMPOSE = ROOT / "docker-compose.yml"
UNIT = ROOT / "config" / "systemd" / "claimsvc.service"
DROP_IN = ROOT / "config" / "systemd" / "mosquitto.service.d" / "claimsvc.conf"
MOSQUITTO_UNIT = Path("/lib/systemd/system/mosquitto.service")
MOST_EXPOSED = 20
"""In tenths, as systemd counts how much of the machine a unit could harm, 100 being all."""


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, cwd=ROOT)


def _compose() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if shutil.which("docker") and _run("docker", "compose", "version").returncode == 0:
        return ["docker", "compose"]
    pytest.skip("there is no docker compose on this machine")


@pytest.mark.parametrize("more", [[], ["-f", "docker/tls.yml"]], ids=["plain", "TLS"])
def test_the_compose_files_are_valid(more: list[str]) -> None:
    """Compose itself reads them, against its schema."""
    done = _run(*_compose(), "-f", COMPOSE, *more, "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_images_settings_are_settings() -> None:
    """The service would start with them."""
    settings = load(ROOT / "docker" / "claimsvc.toml")
    assert settings.credentials.store is CredentialStore.PLUGIN
    assert settings.store.path.is_relative_to("/var/lib/claimsvc")


def test_the_brokers_image_makes_its_configuration_of_the_shipped_one(tmp_path: Path) -> None:
    """The plugin takes the place of the password file, and the broker listens to other machines."""
    dockerfile = (ROOT / "docker" / "mosquitto.Dockerfile").read_text()
    command = re.search(r"RUN (sed .*?) > /etc/mosquitto/mosquitto.conf", dockerfile, re.DOTALL)
    assert command
    done = _run("bash", "-c", command[1].replace("/tmp/mosquitto.conf", str(ROOT / "mosquitto.conf")))
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert "listener 1883" in lines
    assert "plugin /usr/lib/claimsvc/claimsvc.so" in lines
    assert "plugin_opt_store /var/lib/claimsvc/claimsvc.db" in lines
    assert not [line for line in lines if line.startswith(("password_file", "pid_file"))]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_one(tmp_path: Path) -> None:
    """Every line is known to systemd; the program itself lies elsewhere on this machine."""
    unit = tmp_path / "claimsvc.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    done = _run("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "claimsvc.service" in line]) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_has_few_rights() -> None:
    """By systemd's own count."""
    done = _run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not MOSQUITTO_UNIT.exists(),
    reason="systemd or its unit is not installed",
)
def test_the_drop_in_fits_debians_unit(tmp_path: Path) -> None:
    """Every line of it is known to systemd."""
    (tmp_path / "mosquitto.service.d").mkdir()
    shutil.copy(MOSQUITTO_UNIT, tmp_path)
    shutil.copy(DROP_IN, tmp_path / "mosquitto.service.d")
    done = _run("systemd-analyze", "verify", "--man=no", tmp_path / "mosquitto.service")
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(tmp_path) in line]) == (0, [])
