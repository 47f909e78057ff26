"""Money as integers: what people write becomes pico- or nano-USD, and back. Nothing here rounds but where it says so.

Rates are pico-USD per token, which is the same number as micro-USD per million tokens. Amounts are nano-USD in int64.
"""

import re

NANO_PER_USD = 10**9
PICO_PER_NANO = 1_000
MAX_NANO_USD = 2**63 - 1
"""The largest amount that the ledger's int64 columns hold: 9.2 billion USD."""
MAX_RATE_PICO = 10**12
"""1 USD per token. No price is near it; a larger one is a slip of the pen."""

MAX_FEE_PICO = 10**15
"""1,000 USD per picture or minute: above it is a slip of the pen too."""

MAX_TOLD_NANO_USD = 2**53
"""9 million USD for one call: the same bound as that of a cost of ours."""
_RATE_PLACES = 6
_AMOUNT_PLACES = 9
_FEE_PLACES = 12
_MAX_EXPONENT = 30
_MAX_TEXT_LENGTH = 64
_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?")


def parse_rate(text: str) -> int:
    """Read USD per million tokens, such as "0.30", exactly, as pico-USD per token.

    Raises ValueError for anything but a plain non-negative decimal string, for more than six decimals and for a rate
    above MAX_RATE_PICO.
    """
    return _parse(text, _RATE_PLACES, MAX_RATE_PICO)


def parse_usd(text: str) -> int:
    """Read an amount of USD, such as "25" or "0.005", exactly, as nano-USD.

    Raises ValueError for anything but a plain non-negative decimal string, for more than nine decimals and for an
    amount above MAX_NANO_USD.
    """
    return _parse(text, _AMOUNT_PLACES, MAX_NANO_USD)


def _parse(text: object, places: int, maximum: int) -> int:
    """Return the decimal times 10**places, exactly."""
    if not isinstance(text, str):
        raise ValueError(f'an amount of money must be a decimal string such as "0.30", not {type(text).__name__}')
    if len(text) > _MAX_TEXT_LENGTH:
        raise ValueError(f"an amount of money has at most {_MAX_TEXT_LENGTH} characters")
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a non-negative decimal such as "0.30"')
    whole, fraction, exponent = match[1], match[2] or "", int(match[3] or 0)
    if abs(exponent) > _MAX_EXPONENT:
        raise ValueError(f"the exponent of {text!r} is out of range")
    return _shifted(text, int(whole + fraction), exponent - len(fraction) + places, places, maximum)


def _shifted(text: str, digits: int, power: int, places: int, maximum: int) -> int:
    """Return digits times 10**power if that is a whole number in range."""
    scale: int = 10 ** abs(power)
    value, rest = (digits * scale, 0) if power >= 0 else divmod(digits, scale)
    if rest:
        raise ValueError(f"{text!r} has more than {places} decimals")
    if value > maximum:
        raise ValueError(f"{text!r} is too large")
    return value


def told_usd(number: str) -> int | None:
    """Read USD that a provider tells, as it stands in JSON, as nano-USD: one rounding, a half to the even neighbour.

    None for what is no such number, negative, or more than a call can cost: a provider's slip must not fail a call.
    """
    match = _DECIMAL.fullmatch(number) if len(number) <= _MAX_TEXT_LENGTH else None
    if match is None or abs(int(match[3] or 0)) > _MAX_EXPONENT:
        return None
    digits, power = int(match[1] + (match[2] or "")), int(match[3] or 0) - len(match[2] or "") + _AMOUNT_PLACES
    nano: int = digits * 10**power if power >= 0 else nano_half_even(digits, 10**-power)
    return nano if nano <= MAX_TOLD_NANO_USD else None


def render_usd(nano_usd: int) -> str:
    """Write nano-USD as the exact decimal of USD without trailing zeros: 17604000 is "0.017604", 0 is "0"."""
    whole, fraction = divmod(abs(nano_usd), NANO_PER_USD)
    sign = "-" if nano_usd < 0 else ""
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def parse_fee(text: str) -> int:
    """Read USD per picture or per minute, such as "0.04", exactly, as pico-USD.

    Raises ValueError for anything but a plain non-negative decimal string, for more than twelve decimals and for more
    than MAX_FEE_PICO.
    """
    return _parse(text, _FEE_PLACES, MAX_FEE_PICO)


def nano_half_even(parts: int, per_nano: int = PICO_PER_NANO) -> int:
    """Round an amount in `per_nano` parts of a nano-USD to nano-USD, a half to the even neighbour: the one rounding of
    a call's cost.
    """
    nano, rest = divmod(parts, per_nano)
    return nano + (2 * rest > per_nano or (2 * rest == per_nano and nano & 1))
