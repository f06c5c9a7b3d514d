"""What an installation is upgraded from: the commit before this one, or the one that UPGRADE_FROM names."""

from __future__ import annotations

import os
from typing import Final

COMMIT: Final = os.environ.get("UPGRADE_FROM", "HEAD~1")
