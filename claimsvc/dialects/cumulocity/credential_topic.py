"""Cumulocity's MQTT topics for a device without credentials. Facts: docs/original-systems.md#mqtt-bootstrap.

Some agents treat every other message than their credentials as a fatal error. So other outcomes get no answer.
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
    """Return the endpoint of polls. Only the lanes of the login `bootstrap` have it."""
    return [Endpoint(DIALECT, ASK, _read, login=BOOTSTRAP)]


def encode_notice(notice: CredentialsNotice) -> tuple[str, bytes] | None:
    """Return the topic below the root and the payload that give a waiting device its login, or None.

    None: there is no new login, or the device did not poll on this topic.
    """
    if notice.issued is None or not notice.lane.startswith(f"{CLIENTS}/{BOOTSTRAP}/"):
        return None
    return f"{notice.lane}{ANSWER}", _credentials(notice.tenant, notice.username, notice.issued)


def device_id(client_id: str) -> str:
    """Return the device id of a client id: `<id>` of `d:<id>[:<template>]`, otherwise the client id itself."""
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
    """Return template 70. Only a username with a comma or a quote is quoted, because agents do not remove quotes."""
    if set(',"') & set(username):
        username = '"' + username.replace('"', '\\"') + '"'
    return f"70,{tenant},{username},{secret.text}".encode()
