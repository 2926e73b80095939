"""The table of error codes, with the status of each dialect."""

from __future__ import annotations

from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.dialects import admin, cumulocity
from claimsvc.dialects.thingsboard.device_calls import CLAIM_WORDS, STATUSES
from docs.generator.markdown import code
from docs.generator.markdown import table as table_of


def _statuses(reason: Reason) -> tuple[str, str, str]:
    """Return the status of a refusal in `/api/`, `/devicecontrol/` and `/claimsvc/`."""
    status, number = STATUSES[reason]
    word = CLAIM_WORDS.get(reason)
    claim = f', to a claim `"{word}"`' if word else ""
    of_cumulocity, kind, _text = cumulocity.ERRORS[reason]
    return f"{status}, errorCode {number}{claim}", f"{of_cumulocity} {code(kind)}", str(admin.STATUSES[reason])


def table() -> str:
    """Return the table with one row per code."""
    rows = [(code(reason.value), MESSAGES[reason], *_statuses(reason)) for reason in Reason]
    return table_of(("code", "text", "`/api/`", "`/devicecontrol/`", "`/claimsvc/`"), rows)
