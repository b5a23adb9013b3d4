"""What a person reads, in English or Chinese. English stands in the code; Chinese in one table."""

from __future__ import annotations

from agent.chinese import CHINESE


class Language:
    """Says a sentence in the person's language; `{name}` places are filled from keywords."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __call__(self, english: str, **values: object) -> str:
        """The sentence, translated when there is a translation, with its places filled."""
        text = CHINESE.get(english, english) if self.code == "zh" else english
        return text.format(**values) if values else text
