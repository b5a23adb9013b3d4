"""The gate that the tests of the gate have."""

from __future__ import annotations

from tests.policies.conftest import bench, granted, home

__all__ = ["bench", "granted", "home"]
