"""Ids: a prefix that names the noun, then random base62. The random part is given by the caller."""

import string

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase

PREFIXES = {
    "api_key": "key_",
    "admin_api_key": "admkey_",
    "user": "user_",
    "project": "proj_",
    "service_account": "svc_",
    "limit": "lim_",
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
