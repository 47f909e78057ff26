"""Where an upstream's requests go and what every one of them says: worked out once, then only joined with bytes.

Callers hand over checked headers; what is refused here again is what would let a request be split or re-framed.
"""

import re
import ssl
from collections.abc import Sequence
from functools import cache, lru_cache

from yarl import URL

from gateway.core.errors import InvalidRequest
from gateway.core.upstreams import Upstream
from gateway.upstream.providers import SPECIES, versioned

Headers = Sequence[tuple[bytes, bytes]]

# Ours to set, or of one connection only (RFC 9110 7.6.1): a caller's own are dropped.
WITHHELD = frozenset(
    b"host content-length transfer-encoding accept-encoding authorization x-api-key api-key x-goog-api-key cookie "
    b"connection keep-alive proxy-connection proxy-authorization te trailer upgrade expect".split()
)
MOST_REMEMBERED = 256
"""Request heads: the programs of a team say much the same before each body."""
BODILESS = frozenset({"GET", "HEAD", "DELETE"})
_METHODS = BODILESS | {"POST", "PUT", "PATCH"}

_TOKENS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
_SPLITTING = re.compile(rb"[\r\n\0]")
_PATH = re.compile(r"/[!-\"$-~]*")  # visible ASCII without a fragment


class Target:
    """An upstream's address, TLS trust and fixed request headers.

    Raises ValueError for a base URL, key or CA file that cannot work; settings report it at the start.
    """

    def __init__(self, upstream: Upstream) -> None:
        url = URL(upstream.base_url)
        if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
            raise ValueError(f"The base URL of upstream {upstream.name} must be a plain http or https URL.")
        try:
            url.host.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"The base URL of upstream {upstream.name} has a host that no name can be.") from error
        self.url = url
        self._upstream = upstream
        self._base = url.raw_path.rstrip("/")
        species = SPECIES[upstream.provider]
        key = species.key_prefix + upstream.api_key.encode()
        if _SPLITTING.search(key):
            raise ValueError(f"The key of upstream {upstream.name} contains a line break.")
        self._defaults = species.headers
        self._own = [(b"accept-encoding", b"identity")]
        if upstream.api_key:
            self._own.append((species.key_header, key))
        host = (b"host", url.host_port_subcomponent.encode() if url.host_port_subcomponent else b"")
        self._fixed = _lines([host, *self._own])
        self._lead = lru_cache(MOST_REMEMBERED)(self._lead_of)
        self.host, self.port = url.host, url.port or 0
        self.tls = _trust(upstream.ca_file) if url.scheme == "https" else None

    def head(self, method: str, path: str, headers: Headers, body_length: int) -> bytes:
        """The request line and headers up to the blank line. Raises InvalidRequest."""
        lead = self._lead(method, path, tuple(headers))
        if not body_length and method in BODILESS:
            return lead + b"\r\n"
        return b"%bcontent-length: %d\r\n\r\n" % (lead, body_length)

    def _lead_of(self, method: str, path: str, headers: Headers) -> bytes:
        """All but the length. Raises InvalidRequest."""
        line = f"{_checked_method(method)} {self._base}{self._below(path)} HTTP/1.1\r\n".encode()
        return b"%b%b%b" % (line, self._fixed, _lines(self._said(headers)))

    def _below(self, path: str) -> str:
        """The path below the base, as this upstream wants it. Raises InvalidRequest."""
        return _checked_path(versioned(self._upstream, path))

    def request(self, method: str, path: str, headers: Headers) -> tuple[URL, list[tuple[str, str]]]:
        """The same for a library that writes the head itself: the whole URL, and all headers but host and length."""
        _checked_method(method)
        url = URL(f"{self.url.origin()}{self._base}{self._below(path)}", encoded=True)
        pairs = [*self._own, *self._said(headers)]
        return url, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]

    def _said(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The caller's headers, and what the provider wants to be told where they do not tell it."""
        said = passable(headers)
        for default in self._defaults:
            if all(name.lower() != default[0] for name, _ in said):
                said.append(default)
        return said


def passable(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The caller's headers without those that are ours. Raises InvalidRequest for one that could split the request."""
    names, values = [name for name, _ in headers], [value for _, value in headers]
    # All at once: what no name may contain, their concatenation may not either.
    if not _TOKENS.fullmatch(b"".join(names)) or b"" in names or _SPLITTING.search(b"".join(values)):
        raise InvalidRequest("A request header contains a character that HTTP forbids.", code="invalid_header")
    return [header for header in headers if header[0].lower() not in WITHHELD]


@cache
def _trust(ca_file: str | None) -> ssl.SSLContext:
    """Whom to trust: the system's authorities, or those of a file. Reading them takes a while, so once."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _checked_method(method: str) -> str:
    if method not in _METHODS:
        raise InvalidRequest("No provider is asked with this request method.", code="invalid_method")
    return method


def _checked_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise InvalidRequest("The path contains a character that a URL must escape.", code="invalid_path")
    return path
