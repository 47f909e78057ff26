"""What an e-mail address looks like. Quoted names, comments and domain literals are not taken: nobody has them."""

_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[^\W_](?:[\w-]*[^\W_])?"
_ASCII_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ASCII_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"

# \Z, because $ would let a newline follow.
EMAIL = rf"^{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+\Z"
"""Whoever somebody is: letters of every script."""
RECIPIENT = rf"^{_ASCII_ATOM}(?:\.{_ASCII_ATOM})*@{_ASCII_LABEL}(?:\.{_ASCII_LABEL})+\Z"
"""Whom a letter can be addressed to on every mail server: one address that is not keeps the letter from all others."""
MAILBOX = RECIPIENT.replace(rf"(?:\.{_ASCII_LABEL})+", rf"(?:\.{_ASCII_LABEL})*")
"""The same, or somebody on a machine of one's own, such as root@localhost."""
