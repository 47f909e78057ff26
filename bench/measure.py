"""What a target costs: CPU time and memory of its whole process tree, read from Linux."""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Return user + system time of a process and all its living descendants, to the nanosecond.

    /proc/PID/stat counts in ticks of 10 ms; the same clock is read here through its clock id, which Linux makes
    from a process id (clock_getcpuclockid(3); CPUCLOCK_SCHED = 2 in linux/posix-timers.h).
    """
    return sum(time.clock_gettime((~each << 3) | 2) for each in process_tree(pid))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants; shared pages count for each."""
    return sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in process_tree(pid)) * _PAGE_BYTES


def process_tree(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    parents = _parents()
    found = [pid]
    # The list grows while we walk it: children of children come later.
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # It ended while we read.
            # The name stands in parentheses and may itself hold blanks: "12 (a b) S 1 ...".
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by this share (0-1) of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """Return the middle value: one disturbed round doesn't move it."""
    return statistics.median(values)
