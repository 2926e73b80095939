"""Tests. Values are frozen here, which costs too much time in service."""

import os

os.environ["CLAIMS_FROZEN_VALUES"] = "1"  # read by claimsvc.immutable when it is imported
