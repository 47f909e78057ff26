"""The headers of an answer: the provider's, less what is not the client's business, and our own."""

from collections.abc import Iterable, Sequence
from math import ceil

from gateway.core.limits import REQUESTS, TOKEN_METRICS, Standing, period_end
from gateway.core.money import render_usd

RawHeaders = list[tuple[bytes, bytes]]

_DROPPED = frozenset(
    {
        # Hop by hop, or said again by us.
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"content-length", b"date", b"server", b"x-request-id", b"request-id",
        # About the team's account at the provider, or about the provider's own site.
        b"set-cookie", b"openai-organization", b"openai-project", b"anthropic-organization-id", b"alt-svc",
        b"strict-transport-security", b"x-should-retry",
    }
)  # fmt: skip
_DROPPED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"access-control-", b"x-gateway-")


def passed_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the provider's headers that the client may see."""
    return [header for header in headers if header[0] not in _DROPPED and not header[0].startswith(_DROPPED_PREFIXES)]


def limit_headers(standings: Sequence[Standing], now: float) -> RawHeaders:
    """Return OpenAI's `x-ratelimit-*` for the tightest requests limit and the tightest tokens limit of the caller."""
    requests: Standing | None = None
    tokens: Standing | None = None
    for standing in standings:
        if standing.limit.metric is REQUESTS:
            if requests is None or standing.remaining < requests.remaining:
                requests = standing
        elif standing.limit.metric in TOKEN_METRICS and (tokens is None or standing.remaining < tokens.remaining):
            tokens = standing
    headers: RawHeaders = []
    if requests is not None:
        headers += _limit_headers(b"requests", requests, now)
    if tokens is not None:
        headers += _limit_headers(b"tokens", tokens, now)
    return headers


def _limit_headers(word: bytes, standing: Standing, now: float) -> RawHeaders:
    headers = [
        (b"x-ratelimit-limit-" + word, b"%d" % standing.limit.amount),
        (b"x-ratelimit-remaining-" + word, b"%d" % max(standing.remaining, 0)),
    ]
    end = period_end(standing.limit.interval, standing.period_start)
    if end is not None:  # a limit for good begins anew at no time
        headers.append((b"x-ratelimit-reset-" + word, _reset(end - now)))
    return headers


def cost_header(cost_nano_usd: int | None) -> RawHeaders:
    """Return what the call cost, in US dollars, where that is known."""
    return [] if cost_nano_usd is None else [(b"x-gateway-cost-usd", render_usd(cost_nano_usd).encode())]


def _reset(seconds: float) -> bytes:
    """Render a time as a Go duration, as OpenAI does: "59.3s", "6m0s", "71h30m0s". Rounded up: who waits so long must
    not come too early.
    """
    milliseconds = ceil(max(seconds, 0.0) * 1000)
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".").encode() + b"s"
    minutes, rest = divmod(ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return (b"%dh" % hours if hours else b"") + b"%dm%ds" % (minutes, rest)
