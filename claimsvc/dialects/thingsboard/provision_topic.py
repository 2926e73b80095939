"""ThingsBoard's provisioning by key, in JSON. Facts: docs/original-systems.md#provisioning-session.

Every request gets an answer with a text: the vendor's client waits a minute for it, and breaks without the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.model import CredentialKind
from claimsvc.core.policy import PROVISION
from claimsvc.core.provisioning import ProvisionDevice, Provisioned, Wish
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.message import Encode, Endpoint, Inbound, Rejected, Request, malformed

DIALECT = "thingsboard"
ASK, ANSWER = "/provision/request", "/provision/response"

STATUSES: dict[Reason, str] = dict.fromkeys(Reason, "FAILURE") | {Reason.UNKNOWN_KEY: "NOT_FOUND"}
TEXTS: dict[Reason, str] = {
    # ThingsBoard's own text, also for a disabled profile. The texts of `MESSAGES` say more than its other one.
    Reason.UNKNOWN_KEY: "Provision data was not found!",
}

_LONGEST = 255
_NO_LOGIN = "username: a login needs a username; a password or client id alone is not enough"


# --- wire model

Text = Annotated[str, Field(max_length=_LONGEST)]


class ProvisionBody(BaseModel):
    """The body of a provisioning request. Null means absent, because the vendor's client sends it so."""

    model_config = ConfigDict(strict=True)

    provisionDeviceKey: Text
    provisionDeviceSecret: Text
    deviceName: str | None = None
    credentialsType: str | None = None
    token: Annotated[str, Field(max_length=_LONGEST, pattern=r"^[ -~]*$")] | None = None
    username: Text | None = None
    password: Text | None = None
    clientId: Text | None = None
    gateway: bool | None = None


_BODY = TypeAdapter(ProvisionBody)


def endpoints(limit_bytes: int) -> list[Endpoint]:
    """Return the endpoint of provisioning. Only the lanes of the login `provision` have it."""
    return [Endpoint(DIALECT, ASK, lambda inbound: _read(inbound, limit_bytes), login=PROVISION)]


def _read(inbound: Inbound, limit_bytes: int) -> Request:
    command: ProvisionDevice | Refused
    client_id = None
    if len(inbound.payload) > limit_bytes:
        command = Refused(Reason.TOO_LARGE, f"at most {limit_bytes} bytes")
    else:
        try:
            body = _body(inbound.payload)
            client_id = body.clientId or None
            command = _command(inbound, body)
        except Rejected as rejected:
            command = rejected.refused
    return Request(inbound, command, _encoder(client_id), ANSWER, "ProvisionDevice", DIALECT)


# --- decoding


def _body(payload: bytes) -> ProvisionBody:
    try:
        # Parse first: the validating parser accepts NaN in members that it does not know.
        return _BODY.validate_python(from_json(payload, allow_inf_nan=False))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise malformed(f"{where}: {first['msg']}" if where else "a JSON object is expected") from None
    except ValueError:
        raise malformed("a JSON object is expected") from None


def _command(inbound: Inbound, body: ProvisionBody) -> ProvisionDevice:
    secret = Secret(SecretKind.PROVISION_SECRET, body.provisionDeviceSecret)
    return ProvisionDevice(
        inbound.caller,
        inbound.lane,
        body.provisionDeviceKey,
        secret,
        _name(body.deviceName),
        _wish(body),
        body.gateway is True,
    )


def _name(text: str | None) -> str | None:
    """Return the trimmed name; None if it is empty. Raises Rejected for a blank name, as ThingsBoard does."""
    if not text:
        return None
    if not text.strip():
        raise malformed("deviceName: the name is blank")
    return text.strip()


def _wish(body: ProvisionBody) -> Wish:
    kind = body.credentialsType or "ACCESS_TOKEN"
    if kind not in _WISHES:
        raise Rejected(
            Reason.UNSUPPORTED_CREDENTIALS,
            f"credentialsType: {' or '.join(_WISHES)} is expected",
        )
    return _WISHES[kind](body)


def _access_token(body: ProvisionBody) -> Wish:
    token = body.token or None  # in ThingsBoard an empty text means absent
    return Wish(None, Secret(SecretKind.ACCESS_TOKEN, token), is_secret_given=token is not None)


def _username_and_password(body: ProvisionBody) -> Wish:
    username, password = body.username or None, body.password or None
    if username is None and (password or body.clientId):
        raise Rejected(Reason.UNSUPPORTED_CREDENTIALS, _NO_LOGIN)
    return Wish(username, Secret(SecretKind.PASSWORD, password), is_secret_given=password is not None)


_WISHES: dict[str, Callable[[ProvisionBody], Wish]] = {
    "ACCESS_TOKEN": _access_token,
    "MQTT_BASIC": _username_and_password,
}


# --- encoding; members in ThingsBoard's order


def _encoder(client_id: str | None) -> Encode:
    """Return the encoder of an answer. The answer repeats the client id, which has no effect."""

    def encode(outcome: Outcome, _now_ms: int) -> bytes:
        if isinstance(outcome, Provisioned):
            return to_json(_success(outcome, client_id))
        if not isinstance(outcome, Refused):
            raise TypeError(f"no answer for {type(outcome).__name__} on this topic")
        return to_json({"errorMsg": _text(outcome), "status": STATUSES[outcome.reason]})

    return encode


def _success(outcome: Provisioned, client_id: str | None) -> dict[str, object]:
    if outcome.secret is None:
        raise ValueError("the answer needs the secret of the login")
    text, stored = outcome.secret.text, outcome.credential
    if stored.kind is CredentialKind.ACCESS_TOKEN:
        answer: dict[str, object] = {"credentialsValue": text, "credentialsType": "ACCESS_TOKEN"}
    else:
        login = {"clientId": client_id, "userName": stored.login, "password": text}
        answer = {"credentialsValue": login, "credentialsType": "MQTT_BASIC"}
    answer["status"] = "SUCCESS"
    if outcome.is_name_made_up:
        answer["deviceName"] = outcome.device.name  # not ThingsBoard's member: the device needs its generated name
    return answer


def _text(refused: Refused) -> str:
    text = TEXTS.get(refused.reason, refused.message)
    if refused.retry_after_ms is None:
        return text
    return f"{text}. Try again in {-(-refused.retry_after_ms // 1000)} seconds"
