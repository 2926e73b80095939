"""The causes of refusals: one code each, used in logs, audit events and answers.

An answer may say less (ThingsBoard has one word, FAILURE, for most causes). The log always has the exact code.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The cause of a refusal. The value is the code in answers; `MESSAGES` has the human-readable text."""

    # Malformed requests, refused before any rule runs.
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    NO_SUCH_CALL = "no_such_call"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    # Claiming
    ALREADY_CLAIMED = "already_claimed"
    CLAIMING_NOT_ALLOWED = "claiming_not_allowed"
    NO_WINDOW = "no_window"
    WINDOW_EXPIRED = "window_expired"
    WRONG_KEY = "wrong_key"
    LOCKED_OUT = "locked_out"
    RATE_LIMITED = "rate_limited"
    KEY_EXISTS = "key_exists"
    # Registration
    ALREADY_REQUESTED = "already_requested"
    NO_REQUEST = "no_request"
    NOT_ACCEPTED = "not_accepted"
    CREDENTIALS_GIVEN = "credentials_given"
    NOT_PENDING = "not_pending"
    CONTESTED = "contested"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - a code
    BLOCKED = "blocked"
    INVALID_DEVICE_ID = "invalid_device_id"
    DEVICE_LIMIT = "device_limit"
    # Provisioning
    UNKNOWN_KEY = "unknown_key"
    NOT_OF_PROFILE = "not_of_profile"
    ALREADY_PROVISIONED = "already_provisioned"
    UNSUPPORTED_CREDENTIALS = "unsupported_credentials"
    # Permissions
    NOT_PERMITTED = "not_permitted"
    NOT_A_CUSTOMER = "not_a_customer"
    NOT_A_DEVICE = "not_a_device"
    NOT_A_GATEWAY = "not_a_gateway"
    NOT_THE_OWNER = "not_the_owner"
    # Names and items
    UNKNOWN_DEVICE = "unknown_device"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    NAME_TAKEN = "name_taken"
    INVALID_NAME = "invalid_name"
    INVALID_VALUE = "invalid_value"
    IN_USE = "in_use"
    NO_LOGIN = "no_login"
    REQUEST_ID_REUSED = "request_id_reused"
    # Defects of the service
    INTERNAL = "internal"


OF_REGISTRATION = frozenset(
    {
        Reason.ALREADY_REQUESTED,
        Reason.NO_REQUEST,
        Reason.NOT_ACCEPTED,
        Reason.CREDENTIALS_GIVEN,
        Reason.NOT_PENDING,
        Reason.CONTESTED,
        Reason.WRONG_TOKEN,
        Reason.BLOCKED,
        Reason.INVALID_DEVICE_ID,
        Reason.DEVICE_LIMIT,
    }
)
"""Causes of calls about device requests only."""

OF_PROVISIONING = frozenset(
    {
        Reason.UNKNOWN_KEY,
        Reason.NOT_OF_PROFILE,
        Reason.ALREADY_PROVISIONED,
        Reason.UNSUPPORTED_CREDENTIALS,
    }
)
"""Causes of provisioning requests only."""

MESSAGES: dict[Reason, str] = {
    Reason.MALFORMED: "The request could not be understood",
    Reason.TOO_LARGE: "The request is larger than the limit",
    Reason.NO_SUCH_CALL: "There is no such call",
    Reason.METHOD_NOT_ALLOWED: "The path does not support this method",
    Reason.ALREADY_CLAIMED: "The device has been claimed already",
    Reason.CLAIMING_NOT_ALLOWED: "The attribute claimingAllowed of the device is not true",
    Reason.NO_WINDOW: "The device has no open claim window",
    Reason.WINDOW_EXPIRED: "The claim window of the device has expired",
    Reason.WRONG_KEY: "The secret key does not match",
    Reason.LOCKED_OUT: "Too many failed attempts",
    Reason.RATE_LIMITED: "Too many requests",
    Reason.KEY_EXISTS: (
        "The device has an open claim key, which may be printed on a label: add replace=true to replace it"
    ),
    Reason.ALREADY_REQUESTED: "There is already a request for this device id",
    Reason.NO_REQUEST: "There is no request for this device id",
    Reason.NOT_ACCEPTED: "The request is not accepted yet",
    Reason.CREDENTIALS_GIVEN: "The time to fetch the credentials has expired: register the device again",
    Reason.NOT_PENDING: "The request is not waiting for acceptance",
    Reason.CONTESTED: "Another client also asked for this device's credentials",
    Reason.WRONG_TOKEN: "The security token does not match the device's",
    Reason.BLOCKED: "Too many wrong security tokens: the request is blocked; delete it and register the device again",
    Reason.INVALID_DEVICE_ID: "The device id cannot be used",
    Reason.DEVICE_LIMIT: "The tenant has reached its device limit",
    Reason.UNKNOWN_KEY: "No device profile has this provision key and secret",
    Reason.NOT_OF_PROFILE: "The profile has no device of this name",
    Reason.ALREADY_PROVISIONED: "The device has been provisioned already",
    Reason.UNSUPPORTED_CREDENTIALS: "The service cannot issue these credentials",
    Reason.NOT_PERMITTED: "The caller may not do this",
    Reason.NOT_A_CUSTOMER: "Only a user of a customer can claim a device",
    Reason.NOT_A_DEVICE: "This login does not belong to a device",
    Reason.NOT_A_GATEWAY: "This device is not a gateway",
    Reason.NOT_THE_OWNER: "The device belongs to another customer",
    Reason.UNKNOWN_DEVICE: "The device is unknown, and the setting devices.auto_create is off",
    Reason.NOT_FOUND: "There is no such item",
    Reason.ALREADY_EXISTS: "An item of this name already exists",
    Reason.NAME_TAKEN: "The name belongs to another login",
    Reason.INVALID_NAME: "The name cannot be used",
    Reason.INVALID_VALUE: "A value cannot be used",
    Reason.IN_USE: "The item is still in use",
    Reason.NO_LOGIN: "The service keeps no login for the device",
    Reason.REQUEST_ID_REUSED: "The request id was used for another request within the repeat window",
    Reason.INTERNAL: "The service failed to handle the request; its log has the details",
}
