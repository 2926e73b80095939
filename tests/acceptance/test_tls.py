"""The service over TLS, as `mosquitto.conf` shows the listener: requests, large messages, a stranger."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.clients import Client
from tests.support.commands import Commands, one_line
from tests.support.processes import World, free_port


def _certificate(directory: Path, name: str) -> Path:
    """Write a self-signed certificate of 127.0.0.1 with its key; return the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.with_suffix(".key").write_bytes(key.private_bytes(*form))
    return path


@pytest.fixture
def tls_world(tmp_path: Path) -> Iterator[World]:
    """A world whose broker also listens with TLS, where the service connects; nothing is started yet."""
    port = free_port()
    certificate = _certificate(tmp_path, "server")
    environment = {"CLAIMSVC_MQTT__TLS": "true", "CLAIMSVC_MQTT__PORT": str(port)}
    world = World(tmp_path, None, **environment, CLAIMSVC_MQTT__TLS_CA=str(certificate))
    conf = tmp_path / "mosquitto.conf"
    lines = (f"listener {port} 127.0.0.1", f"certfile {certificate}", f"keyfile {certificate.with_suffix('.key')}")
    conf.write_text(conf.read_text() + "\n".join(lines) + "\n")
    yield world
    world.stop()


def test_the_service_works_over_tls(tls_world: World) -> None:
    """Small messages and one of many TLS records, both answered; then a clean stop."""
    tls_world.start()
    accounts, port = tls_world.accounts, tls_world.port
    with Client(port, accounts["device"]) as device, Client(port, accounts["gateway"]) as gateway:
        assert device.open_window({})["status"] == "SUCCESS"
        answers = gateway.open_windows({f"d{n}": {"secretKey": "k" * 40} for n in range(5_000)})
        assert {answer["status"] for answer in answers.values()} == {"SUCCESS"}
    assert tls_world.service.stop() == 0


def test_a_broker_with_a_strangers_certificate_is_not_trusted(tls_world: World) -> None:
    """The service says why and tells it nothing."""
    stranger = _certificate(tls_world.directory, "stranger")
    tls_world.service.environment["CLAIMSVC_MQTT__TLS_CA"] = str(stranger)
    tls_world.broker.start()
    tls_world.service.start(connected=False)
    assert "certificate verify failed" in tls_world.service.wait_for("broker_lost")["error"].lower()


def test_an_operator_works_over_tls(tls_world: World) -> None:
    """With the authority given; without it the broker is not trusted and the password not told."""
    tls_world.start()
    port, directory = tls_world.service.environment["CLAIMSVC_MQTT__PORT"], tls_world.directory
    root = Commands(tls_world.port, tls_world.accounts["admin"], directory)
    line = ["device", "list", "--url", f"mqtts://admin@127.0.0.1:{port}"]
    done = root.run(*line, "--ca", str(directory / "server.crt"))
    assert (done.code, done.err) == (0, "")
    one_line(root.run(*line, "--timeout", "5"), 3, "certificate verify failed")
    one_line(root.run(*line, "--ca", str(root.password_file)), 2, "--ca")
