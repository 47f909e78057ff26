"""Which network addresses belong to everybody: no others may be reached by what somebody merely configured."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(text: str) -> bool:
    """Tell whether an IP address is on the public internet, by itself and by any address that is hidden in it."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        hidden = _hidden(address)
        if hidden is not None:
            return is_public(str(hidden))
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _hidden(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to this IPv6 address end up at."""
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
