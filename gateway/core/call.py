"""A call as its dialect understood it: only the fields that the gateway acts on, beside the client's own bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.core.batches import Lines
from gateway.core.errors import GatewayError
from gateway.core.listing import Listing
from gateway.core.media import Media
from gateway.core.prices import ModelFacts
from gateway.core.usage import Usage


class Head(msgspec.Struct, frozen=True):
    """What stands before a request's body: parameters of its path, its query and its headers, as they were sent."""

    parameters: Mapping[str, str] = {}
    query: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()


class Call(msgspec.Struct, frozen=True):
    """What the client asked for.

    `output_cap` is the client's own cap of one choice, None when it set none; `cap_field` the field that it used.
    `text_only` says that the body's size bounds its tokens: no images, files, audio or references in it.
    `formula_tokens` is more than a provider ever adds to the text of such a body. `references` are ids of things at the
    provider that the call names, which must be the caller's own; `mentions` are ids that must not be another's, though
    nobody here need have made them. `makes` is the kind of what the answer, or what it names, is at the provider from
    now on, "" for nothing. `is_free` calls look at what was paid for already, or ask for nothing that is; `costs` says
    that the provider asks money for it, or beside its tokens, that nobody can read. `defers` says that the provider may
    answer before its work is done, so that the charge is known only later; `forgets` that what the first reference
    names is gone at the provider after it. `listing` asks for a list of ours. `batch_endpoint` is what the lines of a
    batch are sent to, `lines` what they ask for, once they were read. `target` is the whole path at the provider where
    it is the call's own, `query` what it has behind another. `in_array` streams come as one JSON array instead of
    events. `draws` says that the answer may hold pictures. `cache_writes` and `cache_writes_1h` say that the prompt may
    be written to the provider's cache, for its usual time or for an hour. `runs` is how often the provider may go
    through the prompt on its own account, `web_searches` how often it may search, `other_models` are those that it may
    ask besides, `surcharge_percent` is what each token costs more for where it is served. `thinks` says whether the
    model writes what nobody sees; None: as it does by itself. `media` is what calls of pictures and sound are measured
    in beside text.
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
    draws: bool = False
    references: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    is_free: bool = False
    costs: bool = False
    makes: str = ""
    in_array: bool = False
    defers: bool = False
    forgets: bool = False
    listing: Listing | None = None
    batch_endpoint: str = ""
    lines: Lines | None = None
    target: str = ""
    query: str = ""
    formula_tokens: int = 128
    cache_writes: bool = True
    cache_writes_1h: bool = False
    runs: int = 1
    web_searches: int = 0
    other_models: tuple[str, ...] = ()
    surcharge_percent: int = 0
    thinks: bool | None = None
    media: Media | None = None


def held_as(call: Call, spoken: Call) -> Call:
    """Return a client's call with what the words of a provider of another dialect say of how much it may use."""
    return msgspec.structs.replace(
        call,
        text_only=call.text_only and spoken.text_only,
        has_audio=spoken.has_audio,
        draws=spoken.draws,
        formula_tokens=max(call.formula_tokens, spoken.formula_tokens),
        cache_writes=spoken.cache_writes,
        cache_writes_1h=spoken.cache_writes_1h,
        runs=spoken.runs,
        web_searches=spoken.web_searches,
        other_models=spoken.other_models,
        thinks=spoken.thinks,
    )


class Reading(msgspec.Struct, frozen=True):
    """What an answer, or one event of a stream, tells the gateway.

    `usage` is the provider's figures; `early` says that they are from before the answer, so that they leave out what it
    writes; `corrects` takes the figures so far and returns them with what the event says anew; `covers` says that they
    count all that was written up to here. `usage_only` marks an event that carries nothing else; `ends` the event after
    which nothing more comes; `completes` one that completes one of the call's choices, the last of which ends the
    stream; `error` an error of the provider's own; `text` what a client reads of it; `object_id`
    names a thing that lives at the provider, `is_over` tells whether that has done its work, None where nothing is said
    of it, `files` are where its results are, `items` what of it later calls can name, and `shown` is what a list of
    ours may repeat of it.
    """

    usage: Usage | None = None
    early: bool = False
    corrects: Callable[[Usage | None], Usage | None] | None = None
    covers: bool = False
    usage_only: bool = False
    ends: bool = False
    completes: bool = False
    error: bool = False
    text: str = ""
    object_id: str | None = None
    is_over: bool | None = None
    files: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    shown: bytes = b""


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

    def blames_our_account(self, status: int, body: bytes) -> bool:
        """Tell whether a provider's error is about the gateway's key or bill, so that no caller can mend it."""


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
        """Where it lives below the upstream's base URL. `call.model` is the provider's name for the model here."""

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest with `param` for what is wrong with it."""

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the body to send: the client's own bytes unless the model, a cap or the usage flag must change."""

    def read_answer(self, body: bytes) -> Reading:
        """Read a whole answer. NOTHING for one that is not what the format promises."""

    def read_event(self, data: bytes) -> Reading:
        """Read one event's data."""


class Stamp(msgspec.Struct, frozen=True):
    """What an answer of ours says about itself: the call's id, and the Unix second at which it was asked."""

    request_id: str
    asked_at: int


class ErrorAnswer(msgspec.Struct, frozen=True):
    """A provider's error in the client's shape. `retry_after_seconds` is what its body says of it."""

    body: bytes
    retry_after_seconds: float | None = None


class Spoken(Protocol):
    """One call in the words of a provider of another dialect, and its answer in the client's. Made for one call.

    The figures that a client is told are those that the call is charged by: they are handed in as the provider's own
    wire format has read them, or as we have counted where the provider reported none; None where nobody knows.
    """

    @property
    def wire_format(self) -> WireFormat:
        """The provider's: what it is asked in, metered and charged by."""

    @property
    def call(self) -> Call:
        """The call in the provider's terms."""

    @property
    def dropped(self) -> Sequence[str]:
        """The client's fields that the provider has no word for and that change nothing essential."""

    def answer(self, body: bytes, usage: Usage | None) -> bytes:
        """Return a whole answer as the client expects it. Raises UpstreamFailed for one that makes no sense."""

    def error(self, status: int, body: bytes) -> ErrorAnswer:
        """Return a provider's error in the client's shape, its message kept."""

    def feed(self, events: bytes) -> bytes:
        """Return what whole events of the provider's are as events of the client's, b"" for none yet."""

    def finish(self, events: bytes, usage: Usage | None) -> bytes:
        """Return the end of the stream, given the provider's last events.

        Raises UpstreamFailed for a stream that the provider left unfinished without a word.
        """


class Translation(Protocol):
    """How one operation of a dialect is asked of a provider of another. One file each pair in `translate/`."""

    def __call__(self, call: Call, model: str, facts: ModelFacts, stamp: Stamp) -> Spoken:
        """Return the call in the provider's words, for the model behind an alias and what that can do.

        Raises InvalidRequest that names what can't be carried over.
        """
