"""The provider's answer to the client: its bytes unchanged, as they come, metered on the way.

What waits for the settlement is only the end: a whole JSON answer's bytes, the event that ends a stream, the end of the
body. So a client that saw the end has been charged for it, durably.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Send

from gateway.core.call import NOTHING, WireFormat
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json_array import ArrayBuffer
from gateway.core.media import swept_tokens
from gateway.core.rates import Unit
from gateway.core.sound import PCM_BYTES_PER_MS, played_ms
from gateway.dialects.error_headers import retry_after_headers
from gateway.ledger.entries import Outcome
from gateway.proxy.conclude import conclude_seen
from gateway.proxy.exchange import Exchange
from gateway.proxy.meter import Meter
from gateway.proxy.reply_headers import RawHeaders, cost_header, limit_headers, passed_headers
from gateway.proxy.settle import LOOK_AFTER_STREAM_SECONDS, defer, measured, settle
from gateway.proxy.till import Till
from gateway.upstream.reply import Reply

MOST_WHOLE_BYTES = 16 * 1024 * 1024
"""A longer answer is passed on as it comes and its figures are looked for in its end."""
TAIL_BYTES = 64 * 1024
HEAD_BYTES = 4 * 1024
STATUSES = range(200, 600)
"""What can be passed on; a server library has no line for others."""
AFTER_END_SECONDS = 0.1
"""How long a provider may take to end its stream behind the event that ends it."""
JSON = b"application/json"
EVENT_TYPE = "text/event-stream"
RAW_SOUND = "audio/pcm"
EVENTS = b"text/event-stream; charset=utf-8"
STREAM_HEADERS: RawHeaders = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Relay:
    """One answer under way. `status` is what the client got, 0 before it got anything."""

    _beginning = b""
    """Of an answer that was too long to keep."""

    def __init__(self, wire_format: WireFormat, exchange: Exchange, till: Till, send: Send) -> None:
        self._format = wire_format
        self._exchange = exchange
        self._till = till
        self._send = send
        self.status = 0

    @property
    def _provider_format(self) -> WireFormat:
        spoken = self._exchange.spoken
        return self._format if spoken is None else spoken.wire_format

    @property
    def started(self) -> bool:
        """True from the first byte to the client on."""
        return self.status != 0

    async def answer(self, reply: Reply) -> None:
        """Relay the whole answer and settle before its end. Raises UpstreamFailed when it breaks off."""
        exchange = self._exchange
        exchange.first_byte_at = self._till.monotonic()
        exchange.status = reply.status
        exchange.upstream_request_id = _upstream_request_id(reply)
        try:
            if reply.status not in STATUSES:
                raise UpstreamFailed(
                    "The provider answered with a status that HTTP does not have.", code="upstream_broken", sent=True
                )
            if reply.status >= 400:
                await self._error(reply)
            elif reply.status >= 300:
                raise UpstreamFailed(
                    "The provider answered with a redirect, which is not followed.", code="upstream_refused", sent=True
                )
            elif self._is_stream(reply.content_type.lower()):
                await self._stream(reply)
            elif self._is_sound(reply.content_type.lower()):
                await self._sound(reply)
            else:
                await self._whole_answer(reply)
        except UpstreamFailed:
            exchange.outcome = Outcome.UPSTREAM_FAILED
            raise

    def _is_stream(self, content_type: str) -> bool:
        """Tell whether the answer comes piece by piece: in events, or in one JSON array that was asked for."""
        if content_type.startswith(EVENT_TYPE):
            return True
        call = self._exchange.call
        if call is None or not call.streams or self._is_sound(content_type):
            return False
        return call.in_array or "json" not in content_type

    def _is_sound(self, content_type: str) -> bool:
        """Tell whether the answer is what was asked to be read aloud; if it is JSON, it is something else."""
        media = self._exchange.call.media if self._exchange.call is not None else None
        return media is not None and media.unit is Unit.CHARACTERS and "json" not in content_type

    async def _error(self, reply: Reply) -> None:
        """Pass a provider's error as it is, unless it is about our own account there."""
        body = await self._read_all(reply)
        self._exchange.outcome = Outcome.UPSTREAM_FAILED
        if not self.started and self._provider_format.dialect.blames_our_account(reply.status, body):
            raise UpstreamFailed(
                "The provider refused the gateway's own account; your key is fine. An admin finds the details in the "
                "gateway's log.",
                code="upstream_refused",
                sent=True,
            )
        await settle(self._till, self._exchange)
        if self.started:  # it was too long to keep and is under way already
            await self.end_with(body)
            return
        headers = [*self._passed(reply, JSON), *self._limit_headers()]
        if (spoken := self._exchange.spoken) is not None:
            told = spoken.error(reply.status, body)
            body = told.body
            if told.retry_after_seconds is not None and not any(name == b"retry-after" for name, _ in headers):
                headers += retry_after_headers(told.retry_after_seconds)
        headers.append((b"content-length", b"%d" % len(body)))
        await self.whole(reply.status, headers, body)

    async def _whole_answer(self, reply: Reply) -> None:
        exchange = self._exchange
        body = await self._read_all(reply)
        exchange.last_byte_at = self._till.monotonic()
        if self.started:  # it was too long to keep and is under way already
            self._find_usage(body)
            await settle(self._till, exchange)
            await self.end_with(body)
            return
        reading = self._provider_format.read_answer(body)
        exchange.usage, exchange.object_id = reading.usage, reading.object_id
        exchange.failed, exchange.is_over = reading.error, reading.is_over
        exchange.files, exchange.items, exchange.shown = reading.files, reading.items, reading.shown
        is_told = reading.usage is not None and not reading.usage.lacks_output
        # Of a call that has no output, what cannot be read is none either.
        if not is_told and exchange.call is not None and not (exchange.call.output_cap == 0 and reading is NOTHING):
            exchange.answer_text = body.decode(errors="replace") if reading is NOTHING else reading.text
        if exchange.call is not None and exchange.call.is_free:
            await conclude_seen(self._till, exchange)
        await settle(self._till, exchange)
        if exchange.spoken is not None:
            body = exchange.spoken.answer(body, exchange.usage)
        headers = [
            *self._passed(reply, JSON),
            *self._limit_headers(),
            *cost_header(exchange.cost_nano_usd),
            (b"content-length", b"%d" % len(body)),
        ]
        await self.whole(reply.status, headers, body)

    async def _read_all(self, reply: Reply) -> bytes:
        """Return the body; of one that is too long to keep, what was not passed on yet."""
        parts: list[bytes] = []
        size = 0
        while chunk := await reply.chunk():
            parts.append(chunk)
            size += len(chunk)
            if size > MOST_WHOLE_BYTES:
                if self._exchange.spoken is not None:
                    raise UpstreamFailed("The provider's answer is too long.", code="upstream_broken", sent=True)
                kept = b"".join(parts)
                if not self.started:
                    self._beginning = kept[:TAIL_BYTES]
                    await self._start(reply.status, [*passed_headers(reply.headers), *self._limit_headers()])
                await self._send({"type": "http.response.body", "body": kept[:-TAIL_BYTES], "more_body": True})
                parts, size = [kept[-TAIL_BYTES:]], MOST_WHOLE_BYTES - TAIL_BYTES
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _find_usage(self, tail: bytes) -> None:
        """Look for the figures, `usage` or `usageMetadata`, of an answer whose middle is gone, its end first."""
        at = tail.rfind(b'"usage')
        ends = (b"{" + tail[at:].rstrip()) if at >= 0 else b""
        # With a byte between them that no JSON has: the two could make sense together.
        for kept in (ends, self._beginning + b"\0" + tail):
            self._exchange.usage = self._exchange.usage or self._provider_format.read_answer(kept).usage

    async def _sound(self, reply: Reply) -> None:
        """Pass sound on as it comes; what waits for the settlement is the end of the body."""
        exchange = self._exchange
        await self._start(reply.status, [*passed_headers(reply.headers), *self._limit_headers()])
        head, size = b"", 0
        while chunk := await reply.chunk():
            if size < HEAD_BYTES:
                head += chunk[:HEAD_BYTES]
            size += len(chunk)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        exchange.last_byte_at = self._till.monotonic()
        is_raw = reply.content_type.lower().startswith(RAW_SOUND)
        exchange.spoken_ms = size // PCM_BYTES_PER_MS if is_raw else played_ms(head, size)
        await settle(self._till, exchange)
        await self.end_with(b"")

    async def _stream(self, reply: Reply) -> None:
        exchange = self._exchange
        meter, spoken = self._new_meter(reply), exchange.spoken
        await self._start(reply.status, [*self._passed(reply, EVENTS), *STREAM_HEADERS, *self._limit_headers()])
        if exchange.call is not None and exchange.call.defers:
            await self._begin_job(reply, meter)
        await self._pass_on(
            reply, meter, meter.feed if spoken is None else lambda chunk: spoken.feed(meter.feed(chunk))
        )
        await self._read_behind_end(reply, meter)
        exchange.last_byte_at = self._till.monotonic()
        last = meter.finish()
        if spoken is not None:
            usage, _ = await measured(self._till, exchange)
            last = spoken.finish(last, usage)
        if exchange.call is not None and exchange.call.is_free:
            await conclude_seen(self._till, exchange)
        await settle(self._till, exchange)
        await self.end_with(last)

    async def _pass_on(self, reply: Reply, meter: Meter, feed: Callable[[bytes], bytes]) -> None:
        """Pass pieces on the moment they come, up to the event that ends the stream; wait where the client does not
        read.
        """
        send = self._send
        waiting: Awaitable[None] | None = None

        def pass_on(chunk: bytes) -> bool:
            nonlocal waiting
            if passing := feed(chunk):
                sent = send({"type": "http.response.body", "body": passing, "more_body": True})
                # Our server says so with a future that is done when a message is out already.
                waiting = None if isinstance(sent, asyncio.Future) and sent.done() else sent
            return waiting is None and not meter.ended

        while await reply.pour(pass_on):
            if waiting is not None:
                await waiting
                waiting = None
            if meter.ended:
                return

    async def _begin_job(self, reply: Reply, meter: Meter) -> None:
        """Pass on the beginning of a stream whose work goes on without it, its job noted before the client sees it.

        From then on the call is charged to its end, whatever becomes of the stream, of its client or of us.
        """
        passing = []
        while meter.object_id is None and not meter.ended and (chunk := await reply.chunk()):
            passing.append(meter.feed(chunk))
        if self._exchange.named_object is not None and not meter.ended:
            await defer(self._till, self._exchange, LOOK_AFTER_STREAM_SECONDS)
        await self._send({"type": "http.response.body", "body": b"".join(passing), "more_body": True})

    def _new_meter(self, reply: Reply) -> Meter:
        exchange = self._exchange
        call, found, upstream = exchange.call, exchange.route, exchange.upstream
        assert call is not None and found is not None and upstream is not None
        spoken = exchange.spoken
        in_array = call.in_array and not reply.content_type.lower().startswith(EVENT_TYPE)
        meter = exchange.meter = Meter(
            self._provider_format,
            call if spoken is None else spoken.call,
            asked_usage=upstream.stream_usage,
            count=lambda text: self._till.counter.text_now(found.model, text),
            array=ArrayBuffer() if in_array else None,
        )
        return meter

    async def _read_behind_end(self, reply: Reply, meter: Meter) -> None:
        """Read what comes behind the ending event, so that nothing is lost and the connection can be used again."""
        if not meter.ended:
            return
        try:
            async with asyncio.timeout(AFTER_END_SECONDS):
                while chunk := await reply.chunk():
                    meter.feed(chunk)
        except (TimeoutError, UpstreamFailed):
            # The answer is complete; how its transport ends concerns nobody.
            return

    async def progress(self) -> tuple[int, int] | None:
        """Return our count of the prompt and of what was delivered, None if nothing moved since the last time."""
        exchange = self._exchange
        call, found = exchange.call, exchange.route
        if call is None or found is None or call.is_free:
            return None
        fresh = exchange.prompt is None
        if exchange.prompt is None:
            exchange.prompt = await self._till.counter.prompt_for(call, found.model)
        moved = exchange.meter.moved() if exchange.meter is not None else None
        if moved is None and not fresh:
            return None
        if call.media is not None:
            read, made = swept_tokens(call.media, found.price, exchange.prompt.tokens)
            return read, made or moved or 0
        return exchange.prompt.tokens, moved or 0

    async def give(self, body: bytes, more: RawHeaders | None = None) -> None:
        """Answer with JSON that is put together here, settled before it is sent."""
        self._exchange.status = 200
        await settle(self._till, self._exchange)
        ours = [(b"content-type", JSON), *self._limit_headers(), (b"content-length", b"%d" % len(body))]
        await self.whole(200, [*ours, *(more or ())], body)

    async def whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Send a whole answer."""
        await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def break_off(self, error: GatewayError) -> None:
        """End a stream with an error of ours; no event of the provider's is half written before it."""
        dialect, exchange = self._format.dialect, self._exchange
        if exchange.meter is not None and exchange.meter.array is not None:
            await self.end_with(exchange.meter.array.closing(dialect.error_body(error, exchange.request_id)))
        else:
            await self.end_with(dialect.error_event(error, exchange.request_id))

    async def end_with(self, last: bytes) -> None:
        """End the answer."""
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _start(self, status: int, headers: RawHeaders) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _passed(self, reply: Reply, content_type: bytes) -> RawHeaders:
        """Return the provider's headers that the client may see; of a translated answer, with its new content type."""
        passed, spoken = passed_headers(reply.headers), self._exchange.spoken
        if spoken is None:
            return passed
        ours: RawHeaders = [(b"content-type", content_type)]
        if spoken.dropped:
            ours.append((b"x-gateway-dropped-fields", ", ".join(spoken.dropped).encode()))
        return ours + [header for header in passed if header[0] != b"content-type"]

    def _limit_headers(self) -> RawHeaders:
        grant = self._exchange.grant
        if grant is None or not grant.standings:
            return []
        return limit_headers(grant.standings, grant.admitted_at_us / 1_000_000)


def _upstream_request_id(reply: Reply) -> str | None:
    for name, value in reply.headers:
        if name in (b"x-request-id", b"request-id"):
            return value.decode("latin-1")
    return None
