"""CPU and memory of a process tree."""

import os
import subprocess
import sys

from bench.measure import cpu_seconds, percentile, process_tree, resident_bytes


def test_process_tree_child_is_found_and_counted() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in process_tree(os.getpid())
        assert resident_bytes(os.getpid()) > resident_bytes(child.pid) > 0
    finally:
        child.communicate(b"\n")


def test_cpu_seconds_own_process_grows_with_work() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(1_000_000))

    assert cpu_seconds(os.getpid()) > before


def test_percentile_is_a_measured_value() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0, 0.5, 0.99)] == [1.0, 3.0, 4.0]
