"""Key texts: how they are made, checked without a look-up, stored, and found in a request's headers.

A key is `sk-gw-` (admin: `sk-gw-admin-`) + 10 characters of public id + `-` + 32 random base62 + 6 base62 of the CRC-32
over all before it. Only its SHA-256, its public id and its last four characters are stored.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

from gateway.core.errors import InvalidKey, InvalidRequest
from gateway.core.ids import base62

MEMBER_PREFIX = "sk-gw-"
ADMIN_PREFIX = "sk-gw-admin-"
PUBLIC_ID_LENGTH = 10
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
_SHAPE = re.compile(r"sk-gw-(?:admin-)?[0-9A-Za-z]{10}-[0-9A-Za-z]{38}")
_PLAUSIBLE = re.compile(r"[!-~]{8,512}")
_CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})

MISSING = (
    "No API key was sent. Send it as `Authorization: Bearer sk-gw-...` "
    "(`x-api-key`, `api-key` and `x-goog-api-key` are read too)."
)
UNKNOWN = (
    "This API key is not valid: it is malformed, unknown, expired, disabled or deleted. Ask an admin for a new one."
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `text` is shown once and never stored; `digest` is the SHA-256 of it."""

    text: str
    public_id: str
    digest: bytes
    last_four: str


def make_key(public_id: str, secret: str, *, admin: bool = False) -> NewKey:
    """Put a key together from 10 and 32 random base62 characters."""
    body = f"{ADMIN_PREFIX if admin else MEMBER_PREFIX}{public_id}-{secret}"
    text = body + checksum(body)
    return NewKey(text, public_id, digest(text), text[-4:])


def checksum(body: str) -> str:
    """Return the 6 base62 characters of the CRC-32 over the key's body."""
    return base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def digest(text: str) -> bytes:
    """Return the 32 bytes by which a key is stored and found."""
    return hashlib.sha256(text.encode()).digest()


def is_own_shape(text: str) -> bool:
    """Tell whether the text claims to be one of our keys."""
    return text.startswith(MEMBER_PREFIX)


def is_well_formed(text: str) -> bool:
    """Tell, without a look-up, whether a text that claims to be our key has the right shape and checksum."""
    return _SHAPE.fullmatch(text) is not None and checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def without_key(query: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Take the key out of a query such as `alt=sse&key=...`, where Google's clients may send it.

    Returns the query without it, and the header that carries it from here on (several where it was sent twice).
    """
    kept, keys = [], []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if _unquoted(name) == "key":
            keys.append((b"x-goog-api-key", _unquoted(value).encode("latin-1", "replace")))
        else:
            kept.append(pair)
    return b"&".join(kept), keys


def _unquoted(text: bytes) -> str:
    return unquote_plus(text.decode("latin-1"))


def find_credential(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the one key text of a request.

    Raises InvalidKey if there is none or it cannot be a key, InvalidRequest if two differ.
    """
    found: list[str] = []
    for name, value in headers:
        if name in _CREDENTIAL_HEADERS:
            found.append(_bearer(value) if name == b"authorization" else value.decode("latin-1").strip())
    texts = {text for text in found if text} if len(found) > 1 else found
    if len(texts) > 1:
        raise InvalidRequest(
            "Two different API keys were sent. Send one, in one header.", code="conflicting_credentials"
        )
    for text in texts:
        if _PLAUSIBLE.fullmatch(text) is None:
            raise InvalidKey(UNKNOWN if text else MISSING)
        return text
    raise InvalidKey(MISSING)


def _bearer(value: bytes) -> str:
    if value.startswith(b"Bearer "):
        return value[7:].decode("latin-1").strip()
    scheme, _, text = value.decode("latin-1").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidKey("The Authorization header must be `Bearer sk-gw-...`.")
    return text.strip()
