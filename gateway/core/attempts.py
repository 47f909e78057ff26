"""How many failed authentications an address may have: a bucket for each, filled by failures, emptied by time."""

from collections import OrderedDict
from ipaddress import AddressValueError, IPv6Address

FAILURES_PER_SECOND = 50
MOST_ADDRESSES = 10_000
"""About 2 MB. Beyond it the address that failed longest ago is forgotten, which forgives it."""


class FailedAttempts:
    """Counts failures per address. An IPv6 address stands for its /64: one host owns all of it.

    `now` is in seconds of any clock and may jump; a jump forgives at most what the bucket held.
    """

    def __init__(self, per_second: int = FAILURES_PER_SECOND, most_addresses: int = MOST_ADDRESSES) -> None:
        self._per_second = per_second
        self._most_addresses = most_addresses
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def add(self, address: str, now: float) -> None:
        """Count one failure."""
        network = network_of(address)
        # Full is full: hammering on does not lengthen the wait.
        self._levels[network] = min(self._level(network, now) + 1, self._per_second), now
        self._levels.move_to_end(network)
        if len(self._levels) > self._most_addresses:
            self._levels.popitem(last=False)

    def is_over(self, address: str, now: float) -> bool:
        """Tell whether the address has used up its failures for now."""
        # A whole failure has to fit again.
        return self._level(network_of(address), now) > self._per_second - 1

    def _level(self, network: str, now: float) -> float:
        level, at = self._levels.get(network, (0.0, now))
        return max(0.0, level - abs(now - at) * self._per_second)


def network_of(address: str) -> str:
    """Return what stands for all addresses of one host: an IPv4 address itself, the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except AddressValueError:
        return address
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
