"""What can go wrong in the hands, told to the one reader who can act on it.

ToolsError
├── ToolError                 the model can correct its call
└── OperatorError             a person must change something
    ├── KeyringUnusable       the keyring or its key cannot be used
    ├── BadSecret             a secret that cannot be kept or is not there
    ├── BadInventory          servers.yaml is wrong
    ├── BadTool               the declaration of a user's own tool is wrong
    ├── BrowserMissing        no Chromium to drive, or none that starts
    └── EndpointError         the model endpoint
        ├── EndpointAway      refused, no such name, no TLS, silent
        ├── EndpointRefused   key, right, debt, unknown model or parameter: no retry helps
        ├── EndpointBusy      limits or server faults, still there after our retries
        ├── EndpointBroken    nonsense, cut or endless replies, still so after our retries
        ├── PromptTooLong     compact the history, then ask again
        └── PromptRejected    content inspection; sticky until the text has left the history
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.models.reply import Usage


class ToolsError(Exception):
    """Base of every error of this package."""


class ToolError(ToolsError):
    """The model can correct its call; the message is written for it."""


class OperatorError(ToolsError):
    """A person must change something; the message says what."""


# --- the model endpoint ---------------------------------------------------------------------------------


class EndpointError(OperatorError):
    """A model call that gave no reply; `spent` is what its tries cost all the same, None for nothing."""

    def __init__(self, message: str, *, spent: Usage | None = None) -> None:
        super().__init__(message)
        self.spent = spent


class EndpointAway(EndpointError):
    """Nobody answered: refused, unknown name, TLS trouble, silence, or the deadline passed."""


class EndpointRefused(EndpointError):
    """The endpoint will not serve this key, model or request; asking again changes nothing."""


class EndpointBusy(EndpointError):
    """Rate limits or server faults outlasted our retries."""


class EndpointBroken(EndpointError):
    """What came over the wire could not be trusted as a reply."""


class PromptTooLong(EndpointError):
    """The prompt is longer than the model accepts."""


class PromptRejected(EndpointError):
    """Content inspection refused the conversation, and will until the text has left it."""


# --- the browser ------------------------------------------------------------------------------------------


class BrowserMissing(OperatorError):
    """There is no browser that can be driven; the message says how to get one."""


# --- secrets --------------------------------------------------------------------------------------------


class KeyringUnusable(OperatorError):
    """The keyring, or the key of our own one, cannot be used."""


class BadSecret(OperatorError):
    """A secret that cannot be kept, or that is not there."""


# --- servers --------------------------------------------------------------------------------------------


class BadInventory(OperatorError):
    """`servers.yaml` is wrong; the message names file and place."""


# --- users' own tools -----------------------------------------------------------------------------------


class BadTool(OperatorError):
    """A declaration that must not be used; each line of the message begins with `file:line:column`."""
