"""The kinds of values that people send, with their bounds: names, e-mails, model patterns, durations."""

from typing import Annotated

from msgspec import Meta

from gateway.core.emails import EMAIL, RECIPIENT

# \Z, because $ would let a newline follow.
PLAIN_TEXT = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\x9f]*\Z"
ID = r"^[A-Za-z0-9_-]+\Z"
WORDS = {
    PLAIN_TEXT: "text of which not all is blank, without control characters",
    EMAIL: "an e-mail address",
    RECIPIENT: "an e-mail address without accents, as all mail servers take it",
    ID: "an id",
}

MAX_SECONDS = 10 * 365 * 86_400
MAX_GRACE_SECONDS = 30 * 86_400

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN_TEXT)]
Email = Annotated[str, Meta(max_length=254, pattern=EMAIL)]
"""254 octets is the longest address that SMTP carries (RFC 5321 with erratum 1690)."""
Recipient = Annotated[str, Meta(max_length=254, pattern=RECIPIENT)]
Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=ID)]
LifetimeSeconds = Annotated[int, Meta(ge=1, le=MAX_SECONDS)]
GraceSeconds = Annotated[int, Meta(ge=0, le=MAX_GRACE_SECONDS)]
ModelPattern = Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN_TEXT)]
ModelPatterns = Annotated[tuple[ModelPattern, ...], Meta(min_length=1, max_length=100)]
PageSize = Annotated[int, Meta(ge=1, le=100)]
