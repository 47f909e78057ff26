"""Ids: a prefix that names the noun, then the time, then random base62. Time and chance are given by the caller."""

import re
import string

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase

PREFIXES = {
    "api_key": "key_",
    "admin_api_key": "admkey_",
    "user": "user_",
    "project": "proj_",
    "service_account": "svc_",
    "limit": "lim_",
    "spend_alert": "alert_",
    "request": "req_",
    "organization": "org_",
}


def base62(number: int, width: int) -> str:
    """Render a non-negative number in base62 (digits, upper, lower), padded to `width`, its lowest digits kept."""
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


def timed_id(prefix: str, now: float, random: str) -> str:
    """Return an id that sorts by its time, whatever a database takes for alphabetical; `now` is in Unix seconds."""
    return f"{prefix}{int(now * 1_000_000):013x}{random}"


_PROVIDERS_OWN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_object_id(text: str) -> bool:
    """Tell whether a provider's thing can have this id: it stands in paths, so no other characters are taken."""
    return _PROVIDERS_OWN.fullmatch(text) is not None
