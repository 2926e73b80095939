"""Cumulocity's MQTT topics for a device without credentials. Facts: docs/original-systems.md#mqtt-bootstrap.

Some agents take any message but their credentials for a fatal error, so every other outcome is silence.
"""

from __future__ import annotations

from claimsvc.core.decision import Outcome
from claimsvc.core.policy import BOOTSTRAP
from claimsvc.core.registration import CredentialsGiven, CredentialsNotice, PollCredentials
from claimsvc.core.secrets import Secret
from claimsvc.dialects.message import CLIENTS, Endpoint, Inbound, Request

DIALECT = "cumulocity"
ASK, ANSWER = "s/ucr", "s/dcr"


def endpoints() -> list[Endpoint]:
    """Return the one topic of this dialect, in the lanes of the login `bootstrap` alone."""
    return [Endpoint(DIALECT, ASK, _read, login=BOOTSTRAP)]


def encode_notice(notice: CredentialsNotice) -> tuple[str, bytes] | None:
    """Return the topic behind the root, and the payload, that give a waiting device its login; None for others."""
    if notice.issued is None or not notice.lane.startswith(f"{CLIENTS}/{BOOTSTRAP}/"):
        return None
    return f"{notice.lane}{ANSWER}", _credentials(notice.tenant, notice.username, notice.issued)


def device_id(client_id: str) -> str:
    """Return the device id of a client id: itself, or `<id>` of `d:<id>[:<template>]`."""
    if not client_id.startswith("d:"):
        return client_id
    return client_id[2:].partition(":")[0]


def _read(inbound: Inbound) -> Request:
    command = PollCredentials(inbound.caller, device_id(inbound.client_id), inbound.lane, None)
    return Request(inbound, command, _encode, ANSWER, "PollCredentials", DIALECT)


def _encode(outcome: Outcome, _now_ms: int) -> bytes | None:
    if not isinstance(outcome, CredentialsGiven) or outcome.secret is None:
        return None
    return _credentials(outcome.request.tenant, outcome.username, outcome.secret)


def _credentials(tenant: str, username: str, secret: Secret) -> bytes:
    """Return template 70. A username is quoted only for a comma or a quote, since agents do not undo quotes."""
    if set(',"') & set(username):
        username = '"' + username.replace('"', '\\"') + '"'
    return f"70,{tenant},{username},{secret.text}".encode()
