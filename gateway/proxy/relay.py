"""The provider's answer to the client: its bytes unchanged, as they come, metered on the way.

What waits for the settlement is only the end: a whole JSON answer's bytes, the event that ends a stream, the end of the
body. So a client that saw the end has been charged for it, durably.
"""

import asyncio

from starlette.types import Send

from gateway.core.call import NOTHING, WireFormat
from gateway.core.errors import UpstreamFailed
from gateway.dialects.openai import blames_our_account
from gateway.ledger.entries import Outcome
from gateway.proxy.exchange import Exchange
from gateway.proxy.meter import Meter
from gateway.proxy.reply_headers import RawHeaders, cost_header, limit_headers, passed_headers
from gateway.proxy.settle import Till, settle
from gateway.upstream.reply import Reply

MOST_WHOLE_BYTES = 16 * 1024 * 1024
"""A longer answer is passed on as it comes and its figures are looked for in its end."""
TAIL_BYTES = 64 * 1024
STATUSES = range(200, 600)
"""What can be passed on; a server library has no line for others."""
AFTER_END_SECONDS = 0.1
"""How long a provider may take to end its stream behind the event that ends it."""
STREAM_HEADERS: RawHeaders = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Relay:
    """One answer under way. `status` is what the client got, 0 before it got anything."""

    def __init__(self, wire_format: WireFormat, exchange: Exchange, till: Till, send: Send) -> None:
        self._format = wire_format
        self._exchange = exchange
        self._till = till
        self._send = send
        self.status = 0

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
            else:
                await self._whole_answer(reply)
        except UpstreamFailed:
            exchange.outcome = Outcome.UPSTREAM_FAILED
            raise

    def _is_stream(self, content_type: str) -> bool:
        """Tell whether the answer comes in events: it says so, or the client asked for it and it is not one JSON."""
        if content_type.startswith("text/event-stream"):
            return True
        return self._exchange.call is not None and self._exchange.call.streams and "json" not in content_type

    async def _error(self, reply: Reply) -> None:
        """Pass a provider's error as it is, unless it is about our own account there."""
        body = await self._read_all(reply)
        self._exchange.outcome = Outcome.UPSTREAM_FAILED
        if not self.started and blames_our_account(reply.status, body):
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
        headers = [*passed_headers(reply.headers), *self._limit_headers(), (b"content-length", b"%d" % len(body))]
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
        reading = self._format.read_answer(body)
        exchange.usage, exchange.object_id = reading.usage, reading.object_id
        if reading.usage is None:
            exchange.answer_text = body.decode(errors="replace") if reading is NOTHING else reading.text
        await settle(self._till, exchange)
        headers = [
            *passed_headers(reply.headers),
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
                if not self.started:
                    await self._start(reply.status, [*passed_headers(reply.headers), *self._limit_headers()])
                kept = b"".join(parts)
                await self._send({"type": "http.response.body", "body": kept[:-TAIL_BYTES], "more_body": True})
                parts, size = [kept[-TAIL_BYTES:]], MOST_WHOLE_BYTES - TAIL_BYTES
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _find_usage(self, tail: bytes) -> None:
        """Look for the figures at the end of an answer whose beginning is gone."""
        at = tail.rfind(b'"usage"')
        if at >= 0:
            self._exchange.usage = self._format.read_answer(b"{" + tail[at:].rstrip()).usage

    async def _stream(self, reply: Reply) -> None:
        exchange = self._exchange
        meter = self._new_meter()
        await self._start(reply.status, [*passed_headers(reply.headers), *STREAM_HEADERS, *self._limit_headers()])
        send, feed = self._send, meter.feed
        while not meter.ended and (chunk := await reply.chunk()):
            if passing := feed(chunk):
                await send({"type": "http.response.body", "body": passing, "more_body": True})
        await self._read_behind_end(reply, meter)
        exchange.last_byte_at = self._till.monotonic()
        last = meter.finish()
        await settle(self._till, exchange)
        await self.end_with(last)

    def _new_meter(self) -> Meter:
        exchange = self._exchange
        call, found, upstream = exchange.call, exchange.route, exchange.upstream
        assert call is not None and found is not None and upstream is not None
        meter = exchange.meter = Meter(
            self._format,
            call,
            asked_usage=upstream.stream_usage,
            count=lambda text: self._till.counter.text_now(found.model, text),
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
            exchange.prompt = await self._till.counter.prompt_of(call.operation, found.model, call.body)
        moved = exchange.meter.moved() if exchange.meter is not None else None
        if moved is None and not fresh:
            return None
        return exchange.prompt.tokens, moved or 0

    async def whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Send a whole answer."""
        await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def end_with(self, last: bytes) -> None:
        """End the answer. For an error event of ours: no event of the provider's is half written before it."""
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _start(self, status: int, headers: RawHeaders) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

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
