"""The service's side of the broker's plugin: the key file of access tokens, and requests to disconnect clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from claimsvc.dialects.message import Outbound
from claimsvc.files import replace_file

CONTROL_TOPIC = "$CONTROL/claimsvc/v1"
"""Only the service may publish here. The plugin delivers nothing to subscribers."""
_KEY_MODE = 0o640


def offer_token_key(path: Path, key: bytes) -> None:
    """Write the key of the access tokens' hashes, readable for the broker's group. Raises OSError."""
    text = key.hex() + "\n"
    if not path.exists() or path.read_text() != text:
        replace_file(path, text, _KEY_MODE)


def end_sessions(principals: Sequence[str]) -> Outbound:
    """Return the message that makes the plugin disconnect all clients of these principals."""
    return Outbound(CONTROL_TOPIC, "".join(f"disconnect {principal}\n" for principal in principals).encode())
