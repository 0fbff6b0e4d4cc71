"""Peak memory of this process, stage by stage."""

import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def restart_peak() -> None:
    """Forget the peak so far, where the system allows it."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_mib() -> int:
    """Highest resident memory in MiB since `restart_peak`, or since the start where the system cannot forget."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Bytes on macOS, KiB elsewhere.
        return peak // 2**20 if sys.platform == "darwin" else peak // 2**10
    return next(int(line.split()[1]) // 2**10 for line in lines if line.startswith("VmHWM:"))
