"""One sample outcome per command. The dialects encode them to the answers in the AsyncAPI document."""

from __future__ import annotations

from claimsvc.core.accounts import ListItems
from claimsvc.core.bulk import ImportCounts, ImportFinished
from claimsvc.core.claiming import Claimed, ClaimNotice, Released, SessionLimits, WindowOpened, WindowsOpened
from claimsvc.core.command import Command
from claimsvc.core.credentials import FoundCredential, NewCredentials
from claimsvc.core.decision import Done, Found, Listing, Outcome, Page, Refused
from claimsvc.core.devices import Bound, FoundAttributes
from claimsvc.core.inventory import ClaimingQuestion, ClaimingState
from claimsvc.core.model import (
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Credential,
    CredentialKind,
    Customer,
    Device,
    DeviceGroup,
    DeviceProfile,
    DeviceRequest,
    Event,
    Group,
    RequestStatus,
    Role,
    Strategy,
    Tenant,
    User,
    WindowSource,
)
from claimsvc.core.provisioning import ProfileListing, ProfilePage, Provisioned
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import (
    AcceptedAll,
    CredentialsGiven,
    CredentialsNotice,
    DeviceLimit,
    RequestListing,
    RequestPage,
    RequestRefused,
)
from claimsvc.core.secrets import Secret, SecretKind

NOW_MS = 1_640_995_200_000
SOON_MS = NOW_MS + 60_000
_ID = "784f394c-42b6-435a-983c-b7beff2784f9"
_CUSTOMER_ID = "1b6cba7e-9c3a-4a10-9b1e-5a3f0f6d2c11"
_PASSWORD = Secret(SecretKind.PASSWORD, "s3cr3t-of-22-letters-A")

DEVICE = Device(_ID, "default", "Thermostat", "Thermostat", NOW_MS, owner=_CUSTOMER_ID, claimed_at_ms=NOW_MS)
_FREE = Device(_ID, "default", "Thermostat", "Thermostat", NOW_MS)
_GATEWAY = Device(_ID, "default", "gateway", "gateway", NOW_MS, is_gateway=True)
_TOKEN = Secret(SecretKind.ACCESS_TOKEN, "A1B2C3D4E5F6G7H8I9J0")
_TOKEN_CREDENTIAL = Credential("A1B2C3D4E5F6G7H8I9J0", "Thermostat", CredentialKind.ACCESS_TOKEN, "", None, 0, NOW_MS)
_PROFILE = DeviceProfile(_ID, "default", "meter", Strategy.CREATE, "meter-key", "", NOW_MS)
_COUNTS = ImportCounts(1, updated=1)
PROGRESS = ImportCounts(1_000, created=400, failed=1)
_CREDENTIAL = Credential("Thermostat", "Thermostat", CredentialKind.PASSWORD, "", None, 0, NOW_MS)
_REQUEST = DeviceRequest("1234", "default", RequestStatus.PENDING_ACCEPTANCE, "operator", NOW_MS)
_CUSTOMER = Customer(_CUSTOMER_ID, "default", "Demo Customer", NOW_MS)
_USER = User("alice", "default", "alice", _CUSTOMER_ID, ("customer",), (), NOW_MS)
_ROLE = Role("default", "claimers", ("DEVICE:CLAIM_DEVICES",))
_GROUP = Group("default", "installers", ("claimers",))
_DEVICE_GROUP = DeviceGroup(_ID, "default", "hall/3", NOW_MS)
_TENANT = Tenant("acme", "Acme", NOW_MS)
EVENT = Event("default", NOW_MS, "device_claimed", "alice", _ID, "Thermostat", _CUSTOMER_ID)
_ITEMS: dict[type[object], object] = {
    type(each): each for each in (_CUSTOMER, _USER, _ROLE, _GROUP, _TENANT, EVENT, _GATEWAY, _DEVICE_GROUP)
}

REFUSED = RequestRefused(Reason.LOCKED_OUT, retry_after_ms=900_000, device_id="1234", status=_REQUEST.status)
CLAIM_NOTICE = ClaimNotice("Thermostat", claimed=True, at_ms=NOW_MS)
CREDENTIALS_NOTICE = CredentialsNotice("c/bootstrap/1234/", "default", "device_1234", _PASSWORD)

OUTCOMES: dict[str, Outcome] = {
    # command: its outcome if it succeeds; `Done` if it is not listed here
    "OpenWindow": WindowOpened("Thermostat", SOON_MS),
    "OpenWindows": WindowsOpened(
        (("Device A", WindowOpened("Device A", SOON_MS)), ("Device B", Refused(Reason.ALREADY_CLAIMED)))
    ),
    "ReadSessionLimits": SessionLimits(is_gateway=True),
    "ClaimDevice": Claimed(DEVICE),
    "ReleaseDevice": Released(_FREE, was_owned=True),
    **dict.fromkeys(("CreateDevice", "FindDevice", "ReadDevice"), Found(_FREE)),
    "ReadCredentials": FoundCredential(_FREE, _CREDENTIAL, _PASSWORD),
    "ReadAttributes": FoundAttributes((Attribute(_ID, "claimingAllowed", "true", NOW_MS),), None),
    "CreateRequest": Found(_REQUEST, created=True),
    **dict.fromkeys(("ReadRequest", "AcceptRequest"), Found(_REQUEST)),
    "ListRequests": RequestPage(RequestListing("default", 1, 5, None, with_total=True), (_REQUEST,), True, 1),
    "AcceptAll": AcceptedAll((("1234", None), ("5678", RequestRefused(Reason.CONTESTED, device_id="5678")))),
    "ReadLimit": DeviceLimit(100, 12, is_reached=False),
    "PollCredentials": CredentialsGiven(_REQUEST, "device_1234", None, _PASSWORD),
    "CreateCustomer": Found(_CUSTOMER, created=True),
    "ReadCustomer": Found(_CUSTOMER),
    "CreateUser": Found(_USER, _PASSWORD, created=True),
    **dict.fromkeys(("ReadUser", "UpdateUser"), Found(_USER)),
    "CreateGroup": Found(_GROUP, created=True),
    "CreateRole": Found(_ROLE, created=True),
    "CreateTenant": Found(_TENANT, created=True),
    "CreateGateway": Found(_GATEWAY, _PASSWORD, created=True),
    "BindDevices": Bound(_GATEWAY, ("Device A",)),
    "ListDevices": Page(Listing(Device, "default", 100, None, prefix=""), (_FREE,), None),
    "ExamineClaiming": ClaimingState(
        ClaimingQuestion(DEVICE, (), "claim_key_replaced", allow_by_default=True),
        (ClaimWindow(_ID, WindowSource.DEVICE, "", NOW_MS, SOON_MS, 1),),
        None,
        (ClaimAttempts("alice", _ID, 1, 0, 0, NOW_MS),),
        (),
        (EVENT,),
        None,
    ),
    **dict.fromkeys(
        ("RotateCredentials", "RotateOwnCredentials"),
        NewCredentials(_FREE, "Thermostat", _PASSWORD, NOW_MS, SOON_MS),
    ),
    "ProvisionDevice": Provisioned(_FREE, _TOKEN_CREDENTIAL, _TOKEN),
    "SaveProfile": Found(_PROFILE, Secret(SecretKind.PROVISION_SECRET, "meter-secret"), created=True),
    "ReadProfile": Found(_PROFILE),
    "ListProfiles": ProfilePage(ProfileListing("default", 0, 10), (_PROFILE,), 1),
    "ImportDevices": ImportFinished(_COUNTS, ({"updated": ["1234"], "failed": []},), is_rehearsal=False),
    "ImportClaimKeys": ImportFinished(
        _COUNTS, ({"csv": f"Thermostat;value;{SOON_MS}\n", "failed": [], "replaced": 1},), is_rehearsal=False
    ),
}


def outcome_of(name: str, command: Command | None) -> Outcome:
    """Return the outcome of a command of this name; a page of items for a listing."""
    if isinstance(command, ListItems):
        listing = Listing(command.kind, "default", command.limit, None)
        return Page(listing, (_ITEMS[command.kind],), None)
    return OUTCOMES.get(name, Done())
