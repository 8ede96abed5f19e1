"""Why a model cannot be served, or a conversation not be rendered."""

from __future__ import annotations


class CardError(Exception):
    """A model card cannot be served; the text is the reason, for operators."""


class TemplateError(Exception):
    """A chat template refused the messages or failed on them; the text is the template's own, fit for a client."""


class TemplateBoundError(TemplateError):
    """A rendering passed a bound on what it may cost."""


class TooManyTokens(Exception):
    """A text has more tokens than its model takes: `count` of them, or at least so many where it was not encoded."""

    def __init__(self, count: int, exact: bool) -> None:
        super().__init__(f"{count} tokens")
        self.count = count
        self.exact = exact
