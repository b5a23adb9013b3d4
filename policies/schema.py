"""The form of a policy file as JSON Schema (2020-12), so that editors complete keys and mark faults while typing."""

from __future__ import annotations

from typing import Any

from policies.action import KINDS
from policies.rules import HANDLES, Policy

_ONE_OR_MANY = ("url", "path", "server", "commands", "tool", "endpoint", "model", "does")
"""Fields of a rule that take one value where a list of one is meant."""


def schema() -> dict[str, Any]:
    """The schema. It knows the form only: cases, and rules that are too wide, are tried by loading."""
    found = Policy.model_json_schema(mode="validation")
    found |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Remit policy"}
    rule = found["$defs"]["Rule"]["properties"]
    for name in _ONE_OR_MANY:
        for choice in [c for c in rule[name].get("anyOf", ()) if c.get("type") == "array"]:
            rule[name]["anyOf"].insert(0, choice["items"])
    kinds = {"enum": [*KINDS]}
    several = {"type": "array", "items": kinds, "minItems": 1}
    rule["action"] = {"anyOf": [{"const": "*"}, kinds, several], "title": "Action"}
    rule["restore"]["items"] = {"enum": HANDLES}
    found["$defs"]["Of"]["properties"]["within"] |= {"type": "string", "pattern": "^[1-9][0-9]{0,3}[mhd]$"}
    found["$defs"]["Of"]["properties"]["within"]["default"] = "24h"
    return found
