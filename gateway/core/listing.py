"""Which page of the caller's own things at a provider a list shows."""

import msgspec


class Listing(msgspec.Struct, frozen=True):
    """One page of a kind of things. Newest first when `descending`.

    `after` and `before` are ids between which the page lies, None for the list's ends; `purpose` is that of files, None
    for any.
    """

    kind: str
    limit: int
    descending: bool
    after: str | None = None
    before: str | None = None
    purpose: str | None = None
