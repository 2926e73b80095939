"""The admin API of claimsvc, with a file for each group of calls."""

from claimsvc.dialects.admin import account_calls, inventory_calls, key_list_calls, rotation_calls
from claimsvc.dialects.admin.item_shapes import STATUSES, encode_event, item_json, refuse

SECTIONS = (account_calls.SECTION, key_list_calls.SECTION, rotation_calls.SECTION, inventory_calls.SECTION)

__all__ = ["SECTIONS", "STATUSES", "encode_event", "item_json", "refuse"]
