"""The one room that sees everything, and so it decides nothing.

bytes -> request -> command -> facts -> decision -> changes -> COMMIT -> answer -> acknowledgement
"""

from claimsvc.pipeline.loop import Choices, Link, Logins, Pipeline, Tools

__all__ = ["Choices", "Link", "Logins", "Pipeline", "Tools"]
