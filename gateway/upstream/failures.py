"""The words for everything that can go wrong on the way to a provider; no library's error leaves this shelf.

Messages name the upstream and what happened, never an address, a key or the library's text: clients see them. The
library's error is chained as the cause, for our log.
"""

from gateway.core.errors import UpstreamFailed


def unreachable(upstream: str) -> UpstreamFailed:
    """No connection came about: refused, unresolved, too slow, wrong certificate, or the proxy said no."""
    return UpstreamFailed(f"Upstream {upstream} cannot be reached.", code="upstream_unreachable", sent=False)


def unanswered(upstream: str) -> UpstreamFailed:
    """The connection broke after the request went out and before an answer's headers were complete."""
    message = f"Upstream {upstream} closed the connection without an answer."
    return UpstreamFailed(message, code="upstream_unreachable", sent=True)


def late(upstream: str) -> UpstreamFailed:
    """The answer's first byte, or its next one, did not come in time."""
    message = f"Upstream {upstream} did not answer in time."
    return UpstreamFailed(message, status=504, code="upstream_timeout", sent=True)


def broken(upstream: str) -> UpstreamFailed:
    """What came is not a whole, well-formed answer: cut short, reset, or not HTTP."""
    return UpstreamFailed(f"The answer of upstream {upstream} broke off.", code="upstream_broken", sent=True)


def exhausted(upstream: str, retry_after_seconds: float) -> UpstreamFailed:
    """Every connection that the upstream's limit allows stayed in use for as long as a call may wait."""
    message = f"All connections to upstream {upstream} are in use."
    return UpstreamFailed(message, status=503, code="no_upstream", sent=False, retry_after_seconds=retry_after_seconds)
