"""The sockets that connections to providers are made of."""

import contextlib
import socket

import aiohappyeyeballs

# A peer that vanished without a word is noticed after idle + 3 x interval seconds of silence.
_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


def with_keepalive(address: aiohappyeyeballs.AddrInfoType) -> socket.socket:
    """A socket with TCP keep-alive; what the platform lacks is left out."""
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection
