"""What the broker's plugin needs beside the store: the key of access tokens, and whom to disconnect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from claimsvc.dialects.message import Outbound
from claimsvc.files import replace_file

CONTROL_TOPIC = "$CONTROL/claimsvc/v1"
"""The plugin lets only the service publish here, and hands nothing on."""
_KEY_MODE = 0o640


def offer_token_key(path: Path, key: bytes) -> None:
    """Write the key by which access tokens are looked up, for the broker's group to read. Raises OSError."""
    text = key.hex() + "\n"
    if not path.exists() or path.read_text() != text:
        replace_file(path, text, _KEY_MODE)


def end_sessions(principals: Sequence[str]) -> Outbound:
    """Return the message that has the plugin disconnect everybody who is one of `principals`."""
    return Outbound(CONTROL_TOPIC, "".join(f"disconnect {principal}\n" for principal in principals).encode())
