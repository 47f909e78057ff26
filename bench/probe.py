"""Asks for `/healthz` as a balancer does, from a process of its own, so that a busy load does not delay its clock.

Run: python -m bench.probe PORT SECONDS. Prints the seconds of the slowest answer on a connection that is kept, of the
slowest on a new one each time, and by how much the machine itself was late at most when it should have woken us.
"""

import contextlib
import http.client
import sys
import time

PAUSE_SECONDS = 0.05


def slowest(port: int, seconds: float) -> tuple[float, float, float]:
    """Ask again and again; return the longest wait on the kept connection, on a new one, and for a timer beyond it."""
    kept_seconds = new_seconds = late_seconds = 0.0
    with contextlib.closing(_connection(port)) as kept:
        ends_at = time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends_at:
            kept_seconds = max(kept_seconds, _asked(kept, began))
            with contextlib.closing(_connection(port)) as new:
                new_seconds = max(new_seconds, _asked(new, time.perf_counter()))
            began = time.perf_counter()
            time.sleep(PAUSE_SECONDS)
            late_seconds = max(late_seconds, time.perf_counter() - began - PAUSE_SECONDS)
    return kept_seconds, new_seconds, late_seconds


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port)


def _asked(connection: http.client.HTTPConnection, began: float) -> float:
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(*slowest(int(sys.argv[1]), float(sys.argv[2])))
