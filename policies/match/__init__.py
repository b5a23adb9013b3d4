"""Typed matchers: they compare parsed values, never prefixes of strings and never unanchored patterns.

Each has two questions. `matches`: the whole of it lies inside the pattern, so a rule may grant it.
`touches`: some reading of it lies inside, so a rule may refuse it. Doubt is False for the first and
True for the second.
"""
