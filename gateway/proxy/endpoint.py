"""One call, from its key to its settlement. Read this first.

The phases run in this order, each in its own file:
    authenticate  key text -> Principal            refused: 401, 403, 429
    accept        body -> Call                     refused: 400, 413, 415
    own           what it names is the caller's    refused: 404
    route         Call -> Route                    refused: 403, 404
    admit         limits -> Grant                  refused: 429, 403; from here on every exit settles
    forward       first candidate that answers -> Reply
    relay         `relay.py`: the answer to the client, metered
    settle        the price is applied and the call is charged; the end of the answer waits for it

A client that hangs up interrupts the call wherever it is (`watch.py`); what was used so far is charged.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from gateway.core.call import Call, WireFormat
from gateway.core.errors import GatewayError, GatewayFault, ServiceUnavailable, UpstreamFailed
from gateway.core.refusals import LimitReached
from gateway.core.selection import Catalog, Route, check_allowed
from gateway.core.upstreams import Upstream
from gateway.dialects.error_headers import error_headers
from gateway.ledger.entries import Outcome
from gateway.proxy.accept import BodyBudget, ClientLeft, accept, accept_reference
from gateway.proxy.admit import Desk, admit
from gateway.proxy.authenticate import authenticate
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import forward, outgoing_headers
from gateway.proxy.own import own
from gateway.proxy.relay import Relay
from gateway.proxy.reply_headers import limit_headers
from gateway.proxy.route import route
from gateway.proxy.settle import Till, settle
from gateway.proxy.watch import Reason, Watch
from gateway.sources import Clock
from gateway.store.engine import Database
from gateway.store.principals import Principals
from gateway.upstream.pool import Pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How calls are served. `drains` reads on for the exact figure when the client has left."""

    max_body_bytes: int
    drains: bool
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class House:
    """What every endpoint works with; made once by app.py. `catalog` returns the present one."""

    clock: Clock
    database: Database
    principals: Principals
    catalog: Callable[[], Catalog]
    desk: Desk
    till: Till
    pool: Pool
    budget: BodyBudget
    terms: Terms
    running: set[Watch]

    def interrupt_all(self) -> None:
        """End every running call with an error of ours: the drain has taken long enough."""
        for watch in tuple(self.running):
            watch.interrupt(Reason.DRAINED)


class Endpoint:
    """A raw ASGI endpoint for one wire format."""

    def __init__(self, wire_format: WireFormat, house: House) -> None:
        self._format = wire_format
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises nothing but cancellation that is not ours."""
        state = scope["state"]
        exchange = Exchange(state["request_id"], state["client_request_id"], self._house.clock.monotonic())
        relay = Relay(self._format, exchange, self._house.till, send)
        error: GatewayError | None = None
        try:
            await self._serve(exchange, relay, scope, receive)
        except UpstreamFailed as failure:
            error = failure
            self._note(exchange, failure)
        except GatewayError as refused:
            error = refused
        except ClientLeft:
            exchange.outcome = Outcome.CLIENT_LEFT
        except Exception:  # The border of the river: whatever it was, the caller hears of it and the log has it.
            log.exception("call %s failed", exchange.request_id)
            exchange.outcome, error = Outcome.GATEWAY_FAILED, GatewayFault()
        if error is not None:
            await self._refuse(exchange, relay, error)
        if exchange.call is not None:
            self._house.budget.give_back(len(exchange.call.body))
        self._record(exchange, error, state["log"], relay.status)

    async def _serve(self, exchange: Exchange, relay: Relay, scope: Scope, receive: Receive) -> None:
        house = self._house
        now = house.clock.now()
        headers = outgoing_headers(scope["headers"])
        key_text, exchange.principal = await authenticate(scope, house.principals, now)
        call = exchange.call = await self._accept(scope, receive)
        pinned = await own(call, exchange.principal, house.database) if call.references else None
        found = exchange.route = route(call, house.catalog(), self._format.dialect.name, pinned)
        if not call.is_free:
            await self._check_allowed(exchange, key_text, call, found, now)
        watch = Watch(scope, lambda: self._patience(exchange))
        house.running.add(watch)
        try:
            await self._admitted(exchange, relay, key_text, headers, now)
        except asyncio.CancelledError:
            if not watch.taken():
                raise
            self._interrupted(exchange, watch)
        finally:
            watch.stop()
            house.running.discard(watch)
            await self._settle_shielded(exchange)

    async def _accept(self, scope: Scope, receive: Receive) -> Call:
        if scope.get("path_params"):
            return accept_reference(scope, self._format)
        return await accept(scope, receive, self._format, self._house.terms.max_body_bytes, self._house.budget)

    async def _check_allowed(self, exchange: Exchange, key_text: str, call: Call, found: Route, now: float) -> None:
        """Refuse a model that the key may not call; a refusal from the cache alone is read again first."""
        principal = exchange.principal
        assert principal is not None
        try:
            check_allowed(principal.models, call.model, found.model)
        except GatewayError:
            exchange.principal = await self._house.principals.confirm(key_text, now)
            check_allowed(exchange.principal.models, call.model, found.model)

    async def _admitted(
        self, exchange: Exchange, relay: Relay, key_text: str, headers: list[tuple[bytes, bytes]], now: float
    ) -> None:
        """Admit, forward, relay."""
        house, call, found = self._house, exchange.call, exchange.route
        assert call is not None and found is not None and exchange.principal is not None
        asked_at = house.clock.monotonic()
        admitted = await admit(house.desk, exchange.request_id, key_text, exchange.principal, call, found, now)
        house.till.metrics.reserved(house.clock.monotonic() - asked_at)
        exchange.grant, exchange.principal, exchange.prompt = admitted.grant, admitted.principal, admitted.prompt
        house.till.ledger.watch(exchange.request_id, relay.progress)
        exchange.sent = True
        exchange.sent_at = house.clock.monotonic()
        try:
            answered = await forward(
                house.pool,
                found.candidates,
                self._format.method,
                self._format.path(call),
                headers,
                self._body_for(exchange, call, found),
            )
        except UpstreamFailed as failure:
            exchange.sent, exchange.outcome = failure.sent, Outcome.UPSTREAM_FAILED
            raise
        exchange.upstream = answered.upstream
        try:
            await relay.answer(answered.reply)
        finally:
            answered.reply.close()

    def _note(self, exchange: Exchange, failure: UpstreamFailed) -> None:
        """Leave in the log what only an admin should know. A cause's own words may hold what a provider wrote."""
        cause = failure.__cause__
        why = f"{type(cause).__name__} {cause if isinstance(cause, OSError) else ''}" if cause is not None else "-"
        name = exchange.route.candidates[-1].name if exchange.route is not None else "-"
        log.warning(
            "call %s: %s by upstream %s, its status %d, its request id %s, cause %s",
            *(exchange.request_id, failure.code, exchange.upstream.name if exchange.upstream is not None else name),
            *(exchange.status, exchange.upstream_request_id or "-", why),
        )

    def _body_for(self, exchange: Exchange, call: Call, found: Route) -> Callable[[Upstream], bytes]:
        """Return what writes the body for an upstream: the client's own bytes unless something must change."""
        cap = exchange.grant.output_cap if exchange.grant is not None else None

        def body(upstream: Upstream) -> bytes:
            return self._format.rewrite(
                call,
                model=found.model,
                output_cap=cap,
                cap_field=found.facts.cap_field,
                ask_usage=upstream.stream_usage,
            )

        return body

    def _patience(self, exchange: Exchange) -> float:
        """The client has left. Return for how many seconds to go on, so as to hear the provider's exact figures.

        What a reasoning model thought, nobody else could count.
        """
        exchange.outcome = Outcome.CLIENT_LEFT
        self._house.till.metrics.client_left()
        terms = self._house.terms
        thinks = exchange.route is not None and exchange.route.facts.is_reasoning
        return terms.drain_seconds if exchange.sent and (terms.drains or thinks) else 0.0

    def _interrupted(self, exchange: Exchange, watch: Watch) -> None:
        """End the call: its client has left, or the gateway's drain is over."""
        if watch.reason is Reason.DRAINED:
            exchange.outcome = Outcome.GATEWAY_FAILED
            raise ServiceUnavailable("The gateway is shutting down; send the request again.")

    async def _settle_shielded(self, exchange: Exchange) -> None:
        """Settle in a task of its own where the relay has not done so: nothing cancels that one."""
        if exchange.grant is not None and not exchange.settled:
            await asyncio.shield(asyncio.get_running_loop().create_task(settle(self._house.till, exchange)))

    async def _refuse(self, exchange: Exchange, relay: Relay, error: GatewayError) -> None:
        """Tell the client in its dialect: as a whole answer, or in the stream if that has begun."""
        if exchange.principal is not None and exchange.grant is None:
            self._house.till.metrics.call_refused(error.code or error.kind)
        dialect = self._format.dialect
        if relay.started:
            await relay.end_with(dialect.error_event(error, exchange.request_id))
            return
        body = dialect.error_body(error, exchange.request_id)
        headers = [*error_headers(error), (b"content-type", b"application/json")]
        if isinstance(error, LimitReached):
            headers += limit_headers(error.standings, error.now)
        await relay.whole(error.status, [*headers, (b"content-length", b"%d" % len(body))], body)

    def _record(
        self, exchange: Exchange, error: GatewayError | None, fields: dict[str, str | int | float | None], status: int
    ) -> None:
        """Leave the call in metrics and in the access record."""
        ended = self._house.clock.monotonic()
        theirs = max(exchange.last_byte_at - exchange.sent_at, 0.0) if exchange.sent_at else 0.0
        self._house.till.metrics.call_finished(
            self._format.operation, status or 499, self._format.dialect.name, max(ended - exchange.began - theirs, 0.0)
        )
        if exchange.first_byte_at and exchange.upstream is not None:
            waited = exchange.first_byte_at - exchange.sent_at
            self._house.till.metrics.upstream_answered(exchange.upstream.name, waited)
        fields["outcome"] = exchange.outcome.value if exchange.grant is not None else "refused"
        if exchange.principal is not None:
            fields["api_key_id"] = exchange.principal.api_key_id
            fields["project_id"] = exchange.principal.project_id
        if exchange.call is not None:
            fields["model"] = exchange.call.model
        if exchange.upstream is not None:
            fields["upstream"] = exchange.upstream.name
        if exchange.cost_nano_usd is not None:
            fields["cost_nano_usd"] = exchange.cost_nano_usd
        if error is not None:
            fields["error"] = error.code or error.kind
            fields["blame"] = error.blame.value
