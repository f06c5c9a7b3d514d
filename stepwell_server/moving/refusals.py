"""Why something is not moved: what is in the way, where it is, and what to do."""

from __future__ import annotations

from stepwell.errors import WrongStateError


class MoveRefusedError(WrongStateError):
    """Something stands in the way. What was there before is as it was."""


class DamagedExportError(MoveRefusedError):
    """A folder is not what an export wrote: not finished, changed since, or of a newer release."""
