"""Asks for `/healthz` as a balancer does, from a process of its own, so that a busy load does not delay its clock.

Run: python -m bench.probe PORT SECONDS. Prints the seconds of the slowest answer.
"""

import contextlib
import http.client
import sys
import time

PAUSE_SECONDS = 0.05


def slowest(port: int, seconds: float) -> float:
    """Ask again and again on one connection; return how long the slowest answer took."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        longest, ends_at = 0.0, time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends_at:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            longest = max(longest, time.perf_counter() - began)
            time.sleep(PAUSE_SECONDS)
        return longest


if __name__ == "__main__":
    print(slowest(int(sys.argv[1]), float(sys.argv[2])))
