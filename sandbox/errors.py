"""What the walls can say went wrong.

SandboxError
├── SandboxUnavailable   the operator must install or allow something; nothing was run
├── OutsideWorkspace     a name that is not, or does not stay, inside the run's folder
├── UnusableFile         what has that name is missing, no plain file, or too large to read
└── WorkspaceFull        the run's folder has no room left
"""

from __future__ import annotations


class SandboxError(Exception):
    """Something the walls refused or could not do."""


class SandboxUnavailable(SandboxError):
    """Children cannot be confined as asked, so none was started. For the operator, never for the model."""


class OutsideWorkspace(SandboxError):
    """A name that does not stay inside the run's folder. For the model, which can name another file."""


class UnusableFile(SandboxError):
    """A name inside the run's folder that is missing, no plain file, or larger than may be read."""


class WorkspaceFull(SandboxError):
    """The run's folder, or the disk below it, has no room for what was to be written."""
