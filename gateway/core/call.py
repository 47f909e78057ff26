"""A call as its dialect understood it: only the fields that the gateway acts on, beside the client's own bytes."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.core.errors import GatewayError
from gateway.core.usage import Usage


class Call(msgspec.Struct, frozen=True):
    """What the client asked for.

    `output_cap` is the client's own cap of one choice, None when it set none; `cap_field` the field that it used.
    `text_only` says that the body's size bounds its tokens: no images, files, audio or references in it.
    `references` are ids of things at the provider that the call names, which must be the caller's own. `stores` says
    that the answer will stay at the provider under its id. `is_free` calls look at what was paid for already.
    """

    operation: str
    model: str
    body: bytes
    streams: bool = False
    wants_usage: bool = False
    output_cap: int | None = None
    cap_field: str | None = None
    choices: int = 1
    service_tier: str | None = None
    text_only: bool = True
    has_audio: bool = False
    references: tuple[str, ...] = ()
    is_free: bool = False
    stores: bool = False
    query: str = ""


class Reading(msgspec.Struct, frozen=True):
    """What an answer, or one event of a stream, tells the gateway.

    `usage` is the provider's figures; `usage_only` marks an event that carries nothing else; `ends` the event after
    which nothing more comes; `error` an error of the provider's own; `text` what a client reads of it; `object_id` and
    `stored` name a thing that now lives at the provider.
    """

    usage: Usage | None = None
    usage_only: bool = False
    ends: bool = False
    error: bool = False
    text: str = ""
    object_id: str | None = None


NOTHING = Reading()


class Dialect(Protocol):
    """A family of wire formats as clients speak it: how its errors look."""

    @property
    def name(self) -> str:
        """The dialect's word in the catalog and in metrics."""

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        """Render an error as a whole JSON answer."""

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """Render an error as an in-stream event, with the blank line that ends it."""


class WireFormat(Protocol):
    """One operation of a dialect: parse its requests, change what must be changed, read its answers. One file each."""

    @property
    def operation(self) -> str:
        """The ledger's word for it."""

    @property
    def dialect(self) -> Dialect:
        """How its errors look."""

    @property
    def method(self) -> str:
        """The HTTP method, ours and the provider's."""

    @property
    def signs(self) -> Sequence[bytes]:
        """Bytes at least one of which stands in every event that says more than text: a quick look before parsing."""

    def path(self, call: Call) -> str:
        """Where it lives below the upstream's base URL."""

    def parse(self, body: bytes) -> Call:
        """Read a request. Raises InvalidRequest with `param` for what is wrong with it."""

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the body to send: the client's own bytes unless the model, a cap or the usage flag must change."""

    def read_answer(self, body: bytes) -> Reading:
        """Read a whole answer. NOTHING for one that is not what the format promises."""

    def read_event(self, data: bytes) -> Reading:
        """Read one event's data."""
