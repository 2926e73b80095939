"""The one room that sees everything, and so it decides nothing.

bytes -> request -> command -> facts -> decision -> changes -> COMMIT -> answer -> acknowledgement
"""

from claimsvc.pipeline.batches import Batches, Tools
from claimsvc.pipeline.login_sync import Logins, LoginSync
from claimsvc.pipeline.loop import Link, Pipeline
from claimsvc.pipeline.rates import Rates

__all__ = ["Batches", "Link", "LoginSync", "Logins", "Pipeline", "Rates", "Tools"]
