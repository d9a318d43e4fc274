"""What a monitor left behind: its event log, checked.

::

    log = check_log(Path("log"))
    log.damage, log.gaps
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compliance.monitor.reading import Log


def check_log(folder: Path) -> Log:
    """Read a whole event log and check every chain in it. Needs no torch.

    Args:
        folder: That of an event log, which may still be written.

    Raises:
        MonitorError: It is no log, or cannot be read.
    """
    from compliance.monitor.reading import read_log

    return read_log(folder)
