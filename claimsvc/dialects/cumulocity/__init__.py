"""Cumulocity's words: its own topics for new devices, and its REST calls, a file for each group of them."""

from claimsvc.dialects.cumulocity import bulk, requests
from claimsvc.dialects.cumulocity.errors import ERRORS
from claimsvc.dialects.cumulocity.topics import encode_notice, endpoints

SECTIONS = (requests.SECTION, bulk.SECTION)

__all__ = ["ERRORS", "SECTIONS", "encode_notice", "endpoints"]
