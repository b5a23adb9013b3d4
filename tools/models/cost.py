"""What tokens cost at an endpoint."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal

from tools.models.endpoint import EndpointFacts
from tools.models.reply import Usage


def cost_micros(facts: EndpointFacts, usage: Usage) -> int | None:
    """What these tokens cost, in millionths of the currency, rounded up; None when the price is not known."""
    if facts.price_in is None or facts.price_out is None:
        return None
    # prices are per million tokens, so price × tokens already is in millionths
    cost = facts.price_in * Decimal(usage.prompt_tokens) + facts.price_out * Decimal(usage.completion_tokens)
    return int(cost.to_integral_value(rounding=ROUND_UP))
