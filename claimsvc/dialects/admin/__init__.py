"""Our own admin API, a file for each group of calls; `SECTIONS` has them all."""

from claimsvc.dialects.admin import accounts, claim_keys, devices, inventory
from claimsvc.dialects.admin.shapes import STATUSES, encode_event, item_json, refuse

SECTIONS = (accounts.SECTION, claim_keys.SECTION, devices.SECTION, inventory.SECTION)

__all__ = ["SECTIONS", "STATUSES", "encode_event", "item_json", "refuse"]
