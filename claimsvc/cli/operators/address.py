"""Connection options of an operator's command: broker URL, login, password, TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

from claimsvc.cli.operators.asking import ask_secret
from claimsvc.cli.operators.failing import UnusableError
from claimsvc.environment import OPERATOR_PASSWORD, OPERATOR_URL
from claimsvc.mqtt.caller import CallerOptions

_PORTS = {"mqtt": 1883, "mqtts": 8883}


def caller_options(
    url: str, password_file: Path | None, ca: Path | None, cert: Path | None, key: Path | None, timeout: float
) -> CallerOptions:
    """Return the options for the connection. Raises UnusableError."""
    if not url:
        raise UnusableError(f"no broker given: pass --url mqtt://user@host or set {OPERATOR_URL}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UnusableError(f"--url: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UnusableError("--url: not a broker URL; use the form mqtt[s]://user@host[:port]")
    if parts.password is not None:
        raise UnusableError(
            "--url: do not put the password into the URL, other users of this machine can see it: use --password-file"
        )
    if not parts.username:
        raise UnusableError("--url: no username; use mqtt://user@host")
    username = unquote(parts.username)
    return CallerOptions(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=username,
        password=_password(username, password_file),
        tls=_tls(parts.scheme, ca, cert, key),
        timeout_s=timeout,
    )


def _password(username: str, path: Path | None) -> str:
    if path is not None:
        try:
            return path.read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableError(f"--password-file: {path}: {_why(error)}") from None
    if OPERATOR_PASSWORD in os.environ:
        return os.environ[OPERATOR_PASSWORD]
    return ask_secret(f"Password of {username}", f"no password: pass --password-file or set {OPERATOR_PASSWORD}")


def _tls(scheme: str, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if scheme == "mqtt":
        if ca or cert or key:
            raise UnusableError("--ca, --cert and --key need an mqtts:// URL")
        return None
    for option, path in (("--ca", ca), ("--cert", cert), ("--key", key)):
        _must_be_readable(option, path)  # the errors of ssl do not name the file
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise UnusableError(f"--ca: {ca}: cannot read certificates (PEM): {_why(error)}") from None
    if cert is not None:
        try:
            context.load_cert_chain(cert, key)
        except OSError as error:
            files = " and ".join(str(path) for path in (cert, key) if path)
            text = f"--cert, --key: {files}: cannot read a certificate and its key (PEM): {_why(error)}"
            raise UnusableError(text) from None
    return context


def _must_be_readable(option: str, path: Path | None) -> None:
    try:
        if path is not None:
            path.open("rb").close()
    except OSError as error:
        raise UnusableError(f"{option}: {path}: {_why(error)}") from None


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
