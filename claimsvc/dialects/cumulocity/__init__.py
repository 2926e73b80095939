"""Cumulocity's dialect: its topics for new devices, and its REST calls, with a file for each group."""

from claimsvc.dialects.cumulocity import bulk_calls, request_calls
from claimsvc.dialects.cumulocity.credential_topic import encode_notice, endpoints
from claimsvc.dialects.cumulocity.error_words import ERRORS

SECTIONS = (request_calls.SECTION, bulk_calls.SECTION)

__all__ = ["ERRORS", "SECTIONS", "encode_notice", "endpoints"]
