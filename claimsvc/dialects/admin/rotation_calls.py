"""Calls of the admin API about the credentials of a device, and the call of a device about its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from claimsvc.core.command import Command
from claimsvc.core.credentials import (
    MOST_OVERLAP_MS,
    NewCredentials,
    RevokeCredentials,
    RotateCredentials,
    RotateOwnCredentials,
)
from claimsvc.core.decision import Outcome
from claimsvc.core.secrets import SecretKind
from claimsvc.dialects.admin.item_shapes import Body, encode, refuse
from claimsvc.dialects.message import malformed
from claimsvc.dialects.rest import Answer, Call, Route, Section, parse

KINDS = {"MQTT_BASIC": SecretKind.PASSWORD, "ACCESS_TOKEN": SecretKind.ACCESS_TOKEN}
"""ThingsBoard's names for the kinds of credentials."""


# --- wire models


class OwnRotationBody(Body):
    """The body of a device's call."""

    overlapMs: Annotated[int, Field(ge=0, le=MOST_OVERLAP_MS)] | None = None


class RotationBody(OwnRotationBody):
    """The body of an admin's call."""

    credentialsType: str | None = None


# --- decoding


def _rotate(call: Call) -> Command:
    body = parse(RotationBody, call.body, empty=b"{}")
    kind = body.credentialsType
    if kind is not None and kind not in KINDS:
        raise malformed(f"credentialsType: use {' or '.join(KINDS)}")
    return RotateCredentials(call.caller, call.variables["id"], body.overlapMs, KINDS[kind] if kind else None)


def _rotate_own(call: Call) -> Command:
    return RotateOwnCredentials(call.caller, parse(OwnRotationBody, call.body, empty=b"{}").overlapMs)


def _revoke(call: Call) -> Command:
    return RevokeCredentials(call.caller, call.variables["id"])


# --- encoding


def encode_credentials(outcome: Outcome, now_ms: int) -> Answer:
    """Return new credentials. They are shown here and, during the reissue window, to an admin."""
    if not isinstance(outcome, NewCredentials):
        return encode(outcome, now_ms)
    device, secret = outcome.device, outcome.secret
    body: dict[str, object] = {"deviceId": device.id, "name": device.name, "principal": device.principal}
    if secret.kind is SecretKind.ACCESS_TOKEN:
        body["accessToken"] = secret.text
    else:
        body |= {"username": outcome.username, "password": secret.text}
    return Answer(201, {**body, "validFrom": outcome.valid_from_ms, "oldValidUntil": outcome.old_valid_until_ms})


# --- routes

_CREDENTIALS = "/claimsvc/devices/{id}/credentials"

SECTION = Section(
    "/claimsvc/",
    refuse,
    (
        Route("POST", _CREDENTIALS, _rotate, encode_credentials, "RotateCredentials"),
        Route("DELETE", _CREDENTIALS, _revoke, encode, "RevokeCredentials"),
        Route("POST", "/claimsvc/credentials", _rotate_own, encode_credentials, "RotateOwnCredentials"),
    ),
    "claimsvc",
)
