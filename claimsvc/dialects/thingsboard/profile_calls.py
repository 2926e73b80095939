"""ThingsBoard's REST calls about device profiles, limited to provisioning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Outcome
from claimsvc.core.model import DeviceProfile, Strategy
from claimsvc.core.provisioning import DeleteProfile, ListProfiles, ProfilePage, ReadProfile, SaveProfile
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.message import Rejected, malformed
from claimsvc.dialects.rest import Answer, Call, Route, Section, number, parse
from claimsvc.dialects.thingsboard.device_calls import EntityId, entity_id, error

PAGE, LARGEST_PAGE = 10, 1_000
_LAST_PAGE = 2**31

STRATEGIES: dict[str, Strategy] = {
    "DISABLED": Strategy.DISABLED,
    "ALLOW_CREATE_NEW_DEVICES": Strategy.CREATE,
    "CHECK_PRE_PROVISIONED_DEVICES": Strategy.CHECK,
}
WORDS = {strategy: word for word, strategy in STRATEGIES.items()}

TEXTS: dict[Reason, str] = {
    # ThingsBoard's own sentences.
    Reason.NOT_PERMITTED: "You don't have permission to perform this operation!",
    Reason.NOT_FOUND: "Requested item wasn't found!",
    Reason.ALREADY_EXISTS: "Device profile with such name already exists!",
    Reason.NAME_TAKEN: "Device profile with such provision device key already exists!",
}


# --- wire models; unused members are ignored, so that a client can edit an answer and send it back

Code = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
"""A key or secret: visible ASCII characters, which every device can send."""


class ProvisionConfiguration(BaseModel):
    """The strategy again, and the secret."""

    model_config = ConfigDict(strict=True)

    type: str | None = None
    provisionDeviceSecret: Code | None = None


class ProfileData(BaseModel):
    """The part of a profile's data that is about provisioning."""

    provisionConfiguration: ProvisionConfiguration | None = None


class ProfileBody(BaseModel):
    """A profile to create or, with an id, to change. Null means absent."""

    model_config = ConfigDict(strict=True)

    id: EntityId | None = None
    name: str
    provisionType: str | None = None
    provisionDeviceKey: Code | None = None
    profileData: ProfileData | None = None


# --- decoding


def _save(call: Call) -> Command:
    body = parse(ProfileBody, call.body)
    configuration = (body.profileData and body.profileData.provisionConfiguration) or ProvisionConfiguration()
    text = configuration.provisionDeviceSecret
    profile_id = body.id.id if body.id else None
    # A change without a secret leaves the old one; a new profile without one gets a generated secret.
    secret = None if profile_id is not None and text is None else Secret(SecretKind.PROVISION_SECRET, text)
    strategy = _strategy(body.provisionType, configuration.type)
    return SaveProfile(call.caller, profile_id, body.name, strategy, body.provisionDeviceKey, secret)


def _strategy(*given: str | None) -> Strategy | None:
    """Return the strategy, which two members can name. Raises Rejected if they differ."""
    words = {word for word in given if word is not None}
    if len(words) > 1:
        raise malformed("provisionType: profileData.provisionConfiguration.type has another value")
    for word in words:
        if word not in STRATEGIES:
            raise Rejected(Reason.INVALID_VALUE, f"provisionType: one of {', '.join(STRATEGIES)} is expected")
        return STRATEGIES[word]
    return None


def _list(call: Call) -> Command:
    page = number(call.query, "page", 0, _LAST_PAGE)
    return ListProfiles(call.caller, page, max(1, number(call.query, "pageSize", PAGE, LARGEST_PAGE)))


def _by_id(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["deviceProfileId"])


# --- encoding


def refuse(outcome: Outcome, now_ms: int) -> Answer:
    """Return ThingsBoard's error object."""
    return error(outcome, now_ms, TEXTS)


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the answer to a call about profiles."""
    if isinstance(outcome, Found) and isinstance(outcome.item, DeviceProfile):
        return Answer(200, profile_json(outcome.item, outcome.secret))
    if isinstance(outcome, ProfilePage):
        return Answer(200, _page_json(outcome))
    if isinstance(outcome, Done):
        return Answer(200, {})
    return refuse(outcome, now_ms)


def profile_json(profile: DeviceProfile, secret: Secret | None = None) -> dict[str, Any]:
    """Return a profile in ThingsBoard's shape. Only the answer to the call that set its secret shows it."""
    word = WORDS[profile.strategy]
    configuration = {"type": word, "provisionDeviceSecret": secret.text if secret else None}
    return {
        "id": entity_id("DEVICE_PROFILE", profile.id),
        "createdTime": profile.created_at_ms,
        "tenantId": entity_id("TENANT", profile.tenant),
        "name": profile.name,
        "type": "DEFAULT",
        "transportType": "DEFAULT",
        "provisionType": word,
        "provisionDeviceKey": profile.provision_key,
        "profileData": {"provisionConfiguration": configuration},
    }


def _page_json(page: ProfilePage) -> dict[str, object]:
    size = page.listing.size
    return {
        "data": [profile_json(profile) for profile in page.items],
        "totalPages": -(-page.total // size),
        "totalElements": page.total,
        "hasNext": (page.listing.page + 1) * size < page.total,
    }


_PROFILE = "/api/deviceProfile"

SECTION = Section(
    "/api/deviceProfile",
    refuse,
    (
        Route("POST", _PROFILE, _save, encode, "SaveProfile"),
        Route("GET", f"{_PROFILE}/{{deviceProfileId}}", _by_id(ReadProfile), encode, "ReadProfile"),
        Route("DELETE", f"{_PROFILE}/{{deviceProfileId}}", _by_id(DeleteProfile), encode, "DeleteProfile"),
        Route("GET", "/api/deviceProfiles", _list, encode, "ListProfiles"),
    ),
    "thingsboard",
)
