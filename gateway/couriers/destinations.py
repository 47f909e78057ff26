"""Where notices go, read from what people write in settings. Secrets never show in a repr."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from gateway.core.emails import MAILBOX

SECRET_PREFIX = "whsec_"  # noqa: S105 - it marks a secret and is none
MIN_SECRET_BYTES = 16
PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server. `user` and `password` are empty where it wants none; `tls` speaks TLS from the start."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where events are posted, and the key that they are signed with."""

    url: str
    key: bytes = field(repr=False)
    allows_private: bool = False


def mail_server(text: str) -> MailServer:
    """Read `smtp[s]://[user:password@]host[:port]`; user and password may be percent-encoded. Raises ValueError."""
    try:
        url = urlsplit(text)
        port = url.port or PORTS[url.scheme]
    except (ValueError, KeyError):
        url, port = SplitResult("", "", "", "", ""), 0
    user, password = unquote(url.username or ""), unquote(url.password or "")
    right = url.hostname and not (url.path.strip("/") or url.query or url.fragment) and bool(user) == bool(password)
    # SMTP's client sends nothing else.
    if not right or not (user + password).isascii():
        raise ValueError("must be smtp://[user:password@]host[:port] or smtps://..., in ASCII")
    return MailServer(url.hostname or "", port, url.scheme == "smtps", user, password)


def email_addresses(text: str) -> tuple[str, ...]:
    """Read addresses that are separated by commas. Raises ValueError."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found or not all(re.match(MAILBOX, address) for address in found):
        raise ValueError("must be e-mail addresses, comma-separated")
    return found


def email_address(text: str) -> str:
    """Read one address. Raises ValueError."""
    if re.match(MAILBOX, text) is None:
        raise ValueError("must be an e-mail address")
    return text


def percents(text: str) -> tuple[int, ...]:
    """Read which parts of a budget are told of, such as `80,100`; `none` is none of them. Raises ValueError."""
    parts = [] if text == "none" else [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 100 for part in parts):
        raise ValueError("must be whole numbers from 1 to 100, comma-separated, or none")
    return tuple(sorted({int(part) for part in parts}))


def webhook_url(text: str) -> str:
    """Check where events shall go. Raises ValueError for a URL with a user or a fragment, and for no URL."""
    try:
        url = urlsplit(text)
        right = url.scheme in ("http", "https") and url.hostname and url.port != 0 and "@" not in url.netloc
    except ValueError:
        right = False
    if not right or "#" in text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be https://host/path without a user or a fragment")
    return text


def signing_secret(text: str) -> str:
    """Check a secret: text, or base64 after `whsec_`. Raises ValueError for one that is short."""
    try:
        long_enough = len(signing_key(text)) >= MIN_SECRET_BYTES
    except binascii.Error:
        long_enough = False
    if not long_enough:
        raise ValueError(f"must be {MIN_SECRET_BYTES} or more characters, or whsec_ and as many bytes in base64")
    return text


def signing_key(secret: str) -> bytes:
    """Return the key that a checked secret stands for."""
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return secret.encode()
