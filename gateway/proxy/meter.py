"""Bytes seen -> what they say: usage reported by the provider, or the text to count when it reported none.

A stream's bytes pass as they came, in whole events or elements of an array, but for two kinds: the usage chunk that the
client did not ask for is dropped, and the event that ends the stream is held until the settlement is durable. An event
is parsed only if one of its format's signs stands in it. The rest is kept, up to 64 KiB, and counted only when somebody
asks.
"""

from collections.abc import Callable

from gateway.core.call import Call, Reading, WireFormat
from gateway.core.json_array import ArrayBuffer, object_of, split_elements
from gateway.core.rates import Unit
from gateway.core.sse import EventBuffer, data_of, split_events
from gateway.core.usage import Usage

MOST_KEPT_BYTES = 64 * 1024

CountText = Callable[[str], int]


class Meter:
    """Reads one stream. `hides_usage` drops usage-only events; `count` counts output text in tokens.

    With `array` the stream comes as one JSON array, cut by that buffer, instead of events. `early` says that the
    figures so far may leave out what was written, as those from before the answer do and those before an error.
    """

    __slots__ = (
        "_buffer", "_choices_left", "_count", "_counted", "_data_of", "_format", "_has_text", "_hides_usage", "_kept",
        "_kept_bytes", "_reported_at", "_split", "array", "early", "ended", "error", "held", "items", "object_id",
        "usage",
    )  # fmt: skip

    def __init__(
        self,
        wire_format: WireFormat,
        call: Call,
        *,
        asked_usage: bool,
        count: CountText,
        array: ArrayBuffer | None = None,
    ) -> None:
        self._format = wire_format
        self._hides_usage = asked_usage and not call.wants_usage
        self._count = count
        self._choices_left = call.choices
        # Pictures and sound come in events of megabytes, in which nobody looks for words.
        self._has_text = call.media is None or call.media.unit is Unit.AUDIO
        self.array = array
        self._buffer: EventBuffer | ArrayBuffer = EventBuffer() if array is None else array
        self._split: Callable[[bytes], list[bytes]] = split_events if array is None else split_elements
        self._data_of: Callable[[bytes], bytes] = data_of if array is None else object_of
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._counted = 0
        self._reported_at = -1
        self.usage: Usage | None = None
        self.early = False
        self.held = b""
        self.ended = False
        self.error = False
        self.object_id: str | None = None
        self.items: tuple[str, ...] = ()

    def feed(self, chunk: bytes) -> bytes:
        """Take what came; return what the client may have of it now."""
        whole = self._buffer.feed(chunk)
        if not whole:
            return b""
        if self.ended:
            self.held += whole
            return b""
        # Not `in`: for bytes that first raises an error of its own, which costs more than the search.
        for sign in self._format.signs:
            if whole.find(sign) >= 0:
                return self._read(whole)
        self._keep(whole)
        return whole

    def finish(self) -> bytes:
        """Return what was held back: the ending event and what came behind it. For a stream that ended in order."""
        rest = self._buffer.rest()
        if self.ended:
            return self.held + rest
        return self._read(rest) + self.held

    def look_at_rest(self) -> None:
        """Take the figures of an event that was cut behind its data: nobody is sent it, but the provider has told them.

        For a stream that is over; of one that ended in order nothing is left. In an array nothing can be: an element is
        whole with its last brace, and how to close the array depends on what was passed on of it.
        """
        if self.array is None and (rest := self._buffer.rest()):
            self._note(self._format.read_event(self._data_of(rest)))

    def delivered(self) -> int:
        """Return the output tokens that the client has been sent, by our count."""
        self._count_kept()
        return self._counted

    def moved(self) -> int | None:
        """Return the tokens delivered, None if nothing came since the last time."""
        if self._reported_at == self._counted and not self._kept:
            return None
        self._reported_at = self.delivered()
        return self._reported_at

    def _read(self, whole: bytes) -> bytes:
        """Look into the events that may say something; return those that pass."""
        passing = []
        for event in self._split(whole):
            if self.ended:
                self.held += event
                continue
            reading = self._format.read_event(self._data_of(event))
            self._note(reading)
            if reading.ends or (reading.completes and self._choices_left <= 0):
                self.ended = True
                self.held += event
            elif not (reading.usage_only and self._hides_usage):
                passing.append(event)
                if reading.covers:
                    self._cover()
                elif reading.text:
                    self._keep(event)
        return passing[0] if len(passing) == 1 else b"".join(passing)

    def _note(self, reading: Reading) -> None:
        if reading.error:
            self.error = self.early = True
        if reading.usage is not None:
            self.usage, self.early = reading.usage, reading.early
        elif reading.corrects is not None:
            self.usage, self.early = reading.corrects(self.usage), reading.early
        if reading.completes:
            self._choices_left -= 1
        self.object_id = reading.object_id or self.object_id
        self.items = reading.items or self.items

    def _cover(self) -> None:
        """Take the provider's figures for all that was kept so far: they need no counting."""
        self._kept.clear()
        self._kept_bytes = 0
        self._counted = self.usage.output_tokens if self.usage is not None else 0

    def _keep(self, events: bytes) -> None:
        if not self._has_text:
            return
        self._kept.append(events)
        self._kept_bytes += len(events)
        if self._kept_bytes > MOST_KEPT_BYTES:
            self._count_kept()

    def _count_kept(self) -> None:
        if not self._kept:
            return
        events = self._split(b"".join(self._kept))
        self._kept.clear()
        self._kept_bytes = 0
        text = "".join(self._format.read_event(self._data_of(event)).text for event in events)
        if text:
            self._counted += self._count(text)
