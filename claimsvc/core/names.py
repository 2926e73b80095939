"""Rules for names, and how a name becomes a principal.

Everything here keeps a stranger's text from breaking out of the place a name has.
"""

from __future__ import annotations

import re
import unicodedata

from claimsvc.core.policy import Policy

NAME_MAX = 255  # ThingsBoard's column width
DEVICE_ID_MAX = 1000  # Cumulocity's
_NOT_IN_DEVICE_IDS = "\\/+$: "
_TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TO_ENCODE = re.compile(r"[%/+#\x00-\x1f\x7f-\x9f]")
_NONCHARACTER_LOW, _NONCHARACTER_HIGH = 0xFDD0, 0xFDEF


def name_error(name: str) -> str | None:
    """Return why `name` cannot name a device, user, group or role, or None.

    A broker disconnects whoever publishes a topic with a control character or a Unicode noncharacter, so no
    such name is ever stored.
    """
    if not name:
        return "the name is empty"
    if len(name) > NAME_MAX:
        return f"the name is longer than {NAME_MAX} characters"
    if name.isascii() and name.isprintable():
        return None
    for character in name:
        if _is_unspeakable(character):
            return f"the name contains U+{ord(character):04X}, which no topic can carry"
    return None


def _is_unspeakable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} or _is_noncharacter(character)


def _is_noncharacter(character: str) -> bool:
    code = ord(character)
    return _NONCHARACTER_LOW <= code <= _NONCHARACTER_HIGH or code & 0xFFFE == 0xFFFE  # noqa: PLR2004 - Unicode 23.7


def login_error(name: str, policy: Policy) -> str | None:
    """Return why a login of this name cannot be issued, or None."""
    if error := name_error(name):
        return error
    if not name.isprintable() or name != name.strip():
        return "a login has no invisible characters and neither begins nor ends with a blank"
    if name in policy.reserved_names:
        return "the name is reserved"
    for character in policy.login_excludes:
        if character in name:
            return f"the credential store cannot hold a login with {character!r}"
    return None


def request_username(device_id: str) -> str:
    """Return the username of a device that was registered by its id; it is Cumulocity's."""
    return f"device_{device_id}"


def device_id_error(device_id: str) -> str | None:
    """Return the character that makes a device id unusable, "" for a bad length, or None for a good id."""
    if not device_id or len(device_id) > DEVICE_ID_MAX:
        return ""
    if device_id in {".", ".."}:
        return device_id
    for character in device_id:
        # What cannot be seen is no part of a login either, and so would be refused only when the device is accepted.
        if character in _NOT_IN_DEVICE_IDS or not character.isprintable():
            return character
    return None


def tenant_error(tenant: str) -> str | None:
    """Return why `tenant` cannot be a tenant's id, or None."""
    if _TENANT_ID.fullmatch(tenant):
        return None
    return "a tenant id is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit"


def principal_name(tenant: str, name: str, policy: Policy) -> str:
    """Return the principal of `name` in `tenant`: one topic level.

    Names with a slash in the default tenant can meet those of another; who comes first has it (logins.issue).
    """
    level = _TO_ENCODE.sub(_percent, name)
    return level if tenant == policy.default_tenant else f"{tenant}%2F{level}"


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
