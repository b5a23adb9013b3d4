"""Detectors, one table per family."""

from __future__ import annotations

from policies.redact.detect.context import CONTEXT
from policies.redact.detect.credentials import CREDENTIALS
from policies.redact.detect.detector import Detector, Family
from policies.redact.detect.personal import EMAIL, NUMBERS, PLACES, normal

FAMILIES: tuple[Family, ...] = (CREDENTIALS, EMAIL, NUMBERS, PLACES, CONTEXT)
"""All that is looked for; where two claim the same span, the earlier wins."""

SECRET_TYPES: frozenset[str] = frozenset({"secret", *(detector.type for detector in CREDENTIALS.detectors)})
"""Types that are never restored for a person or a page, only by an executor that opens them on purpose."""

LEARNED_TYPES: frozenset[str] = frozenset(
    detector.type for family in FAMILIES for detector in family.detectors if detector.learn
)
"""Types whose values are known only by their context, so that they are looked for literally once found."""

__all__ = ["FAMILIES", "LEARNED_TYPES", "SECRET_TYPES", "Detector", "Family", "normal"]
