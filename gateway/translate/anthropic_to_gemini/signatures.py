"""Google's signatures of thoughts in the signatures of Anthropic's thinking blocks, and back.

Claude's own signatures, of turns that it took before, mean nothing to Gemini: only those with our mark are its own.
"""

_MARK = "gemini."


def shown(signature: str) -> str:
    """Return what a client of Anthropic's is shown, and sends back."""
    return _MARK + signature


def sent_back(signature: str) -> str | None:
    """Return Google's signature, None for one that is not."""
    return signature.removeprefix(_MARK) if signature.startswith(_MARK) else None
