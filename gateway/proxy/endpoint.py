"""One call, from its key to its settlement. Read this first.

The phases run in this order, each in its own file:
    turnstile     its turn, in the order of coming refused: 503
    authenticate  key text -> Principal            refused: 401, 403, 429
    accept        body -> Call                     refused: 400, 413, 415
    own           what it names is the caller's    refused: 404
    survey        a batch's lines -> what they ask for  refused: 400, 404
    route         Call -> Route                    refused: 403, 404
    translate     for a provider of another dialect  refused: 400, 404
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

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.core.call import Call, Spoken, Stamp, WireFormat, held_as
from gateway.core.errors import GatewayError, GatewayFault, NotFound, ServiceUnavailable, UpstreamFailed
from gateway.core.extensions import DISCONNECT, Connection
from gateway.core.refusals import LimitReached
from gateway.core.selection import Catalog, Route, check_allowed
from gateway.core.upstreams import Upstream
from gateway.dialects.error_headers import error_headers
from gateway.ledger.entries import Outcome
from gateway.proxy.accept import BodyBudget, ClientLeft, accept
from gateway.proxy.admit import Desk, admit
from gateway.proxy.authenticate import authenticate
from gateway.proxy.exchange import Exchange
from gateway.proxy.follow import Follower
from gateway.proxy.forward import forward, outgoing_headers
from gateway.proxy.gather import gather
from gateway.proxy.own import own
from gateway.proxy.relay import Relay
from gateway.proxy.reply_headers import limit_headers
from gateway.proxy.route import keeper, route
from gateway.proxy.settle import settle
from gateway.proxy.survey import survey
from gateway.proxy.till import Till
from gateway.proxy.turnstile import Turnstile
from gateway.proxy.watch import Reason, Watch
from gateway.sources import Clock, new_request_id
from gateway.store.engine import Database
from gateway.store.principals import Principal, Principals
from gateway.translate.pairs import COUNTS, TRANSLATIONS
from gateway.upstream.pool import Pool
from gateway.upstream.providers import deployed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How calls are served. `drains` reads on for the exact figure when the client has left.

    `database_seconds` are all that a call may wait for the database before it is sent.
    """

    max_body_bytes: int
    max_form_bytes: int
    drains: bool
    drain_seconds: float
    database_seconds: float


ESTIMATED = [(b"x-gateway-estimated", b"input_tokens")]
NAMING_SECONDS = 60.0
"""How long to wait for the name of a job whose client has left: without it nobody could ask what it used."""


@dataclass(frozen=True, slots=True)
class House:
    """What every endpoint works with; made once by app.py. `catalog` returns the present one."""

    clock: Clock
    turnstile: Turnstile
    database: Database
    principals: Principals
    catalog: Callable[[], Catalog]
    desk: Desk
    till: Till
    pool: Pool
    follower: Follower
    budget: BodyBudget
    terms: Terms
    running: set[Watch]

    def interrupt_all(self) -> None:
        """End every running call with an error of ours: the drain has taken long enough."""
        for watch in tuple(self.running):
            watch.interrupt(Reason.DRAINED)


class Endpoint:
    """A raw ASGI endpoint for one wire format. `spoken` asks for providers that speak that dialect, whatever comes.

    A format that `takes_form` has the cap of forms for its bodies.
    """

    def __init__(
        self, wire_format: WireFormat, house: House, spoken: str | None = None, *, takes_form: bool = False
    ) -> None:
        self._format = wire_format
        self._house = house
        self._spoken = spoken
        self._max_body_bytes = house.terms.max_form_bytes if takes_form else house.terms.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises nothing but cancellation that is not ours."""
        state = scope["state"]
        began = self._house.clock.monotonic()
        until = began + self._house.terms.database_seconds
        exchange = Exchange(state["request_id"], state["client_request_id"], began, until)
        relay = Relay(self._format, exchange, self._house.till, send)
        error: GatewayError | None = None
        try:
            if (turn := self._house.turnstile.enter()) is not None:
                await turn
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
            await self._refuse(scope, exchange, relay, error)
        for held in (exchange.call, exchange.spoken.call if exchange.spoken is not None else None):
            if held is not None:
                self._house.budget.give_back(len(held.body))
        self._record(exchange, error, state["log"], relay.status)

    def turned_away(self) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body for a call that is not served because too many wait."""
        error, request_id = self._house.turnstile.refusal(), new_request_id()
        names = [(name, request_id.encode()) for name in (b"x-request-id", b"request-id")]
        headers = [*names, *error_headers(error), (b"content-type", b"application/json")]
        return error.status, headers, self._format.dialect.error_body(error, request_id)

    async def _serve(self, exchange: Exchange, relay: Relay, scope: Scope, receive: Receive) -> None:
        house = self._house
        now = house.clock.now()
        headers = outgoing_headers(scope["headers"])
        house.turnstile.at_desk += 1
        try:
            key_text, exchange.principal = await authenticate(scope, house.principals, now, exchange.until)
        finally:
            house.turnstile.at_desk -= 1
        known_at = house.clock.monotonic()
        call = exchange.call = await accept(scope, receive, self._format, self._max_body_bytes, house.budget)
        exchange.until += house.clock.monotonic() - known_at
        pinned = None
        if call.references or call.mentions:
            pinned = await own(call, exchange.principal, house.database, exchange.until)
        if call.batch_endpoint and pinned is not None:
            call = exchange.call = await self._surveyed(exchange, call, exchange.principal, pinned)
        found = exchange.route = route(call, house.catalog(), self._format.dialect.name, self._spoken, pinned)
        if call.model:
            await self._check_allowed(exchange, key_text, call, found, now)
        if found.speaks != self._format.dialect.name and call.operation not in COUNTS:
            spoken = self._translated(exchange, call, found, now)
            house.budget.take(len(spoken.call.body))
            exchange.spoken, exchange.call = spoken, held_as(call, spoken.call)
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

    async def _surveyed(self, exchange: Exchange, call: Call, principal: Principal, pinned: str) -> Call:
        """Return a batch with what its lines ask for and name, which must be the caller's own as well."""
        house, catalog = self._house, self._house.catalog()
        owned_at = house.clock.monotonic()
        surveyed = await survey(call, keeper(catalog, pinned), catalog, house.pool, house.desk.counter)
        exchange.until += house.clock.monotonic() - owned_at
        await own(surveyed, principal, house.database, exchange.until)
        return surveyed

    def _translated(self, exchange: Exchange, call: Call, found: Route, now: float) -> Spoken:
        """Return the call in the provider's words. Raises InvalidRequest, NotFound where there are none for it."""
        translation = TRANSLATIONS.get((call.operation, found.speaks))
        if translation is None:
            raise NotFound(
                f"The model `{call.model}` is not served in this API's format.", code="model_not_found", param="model"
            )
        return translation(call, found.model, found.facts, Stamp(exchange.request_id, int(now)))

    async def _check_allowed(self, exchange: Exchange, key_text: str, call: Call, found: Route, now: float) -> None:
        """Refuse a model that the key may not call; a refusal from the cache alone is read again first."""
        principal = exchange.principal
        assert principal is not None
        try:
            check_allowed(principal.models, principal.project_models, call.model, found.model, call.other_models)
        except GatewayError:
            principal = exchange.principal = await self._house.principals.confirm(key_text, now, exchange.until)
            check_allowed(principal.models, principal.project_models, call.model, found.model, call.other_models)

    async def _admitted(
        self, exchange: Exchange, relay: Relay, key_text: str, headers: list[tuple[bytes, bytes]], now: float
    ) -> None:
        """Admit, forward, relay."""
        house, call, found = self._house, exchange.call, exchange.route
        assert call is not None and found is not None and exchange.principal is not None
        asked_at = house.clock.monotonic()
        house.turnstile.at_desk += 1
        try:
            admitted = await admit(
                house.desk, exchange.request_id, key_text, exchange.principal, call, found, now, exchange.until
            )
        finally:
            house.turnstile.at_desk -= 1
        house.till.metrics.reserved(house.clock.monotonic() - asked_at)
        exchange.grant, exchange.principal, exchange.prompt = admitted.grant, admitted.principal, admitted.prompt
        house.till.ledger.watch(exchange.request_id, relay.progress)
        if call.listing is not None:
            owner, look = exchange.principal.api_key_id, house.follower.look
            page = await gather(call.listing, owner, house.database, look, now, exchange.until)
            exchange.sent = True
            await relay.give(page)
            return
        if found.speaks != self._format.dialect.name and exchange.spoken is None:
            await self._count(exchange, relay, call, found)
            return
        spoken = exchange.spoken
        asked, wire_format = (call, self._format) if spoken is None else (spoken.call, spoken.wire_format)
        if call.forgets:
            await house.follower.finish(found.candidates[0], call.references[0])
        exchange.sent_at = house.clock.monotonic()
        try:
            answered = await forward(
                house.pool,
                found.candidates,
                wire_format.method,
                headers,
                self._said(exchange, wire_format, asked, found),
            )
        except UpstreamFailed as failure:
            exchange.sent, exchange.outcome = failure.sent, Outcome.UPSTREAM_FAILED
            raise
        exchange.upstream = answered.upstream
        try:
            await relay.answer(answered.reply)
        finally:
            answered.reply.close()

    async def _count(self, exchange: Exchange, relay: Relay, call: Call, found: Route) -> None:
        """Count a prompt here: the model's provider has no such call, or not in these words."""
        exchange.prompt = await self._house.till.counter.prompt_of(call.operation, found.model, call.body)
        exchange.sent = True
        await relay.give(COUNTS[call.operation](exchange.prompt.tokens), ESTIMATED)

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

    def _said(
        self, exchange: Exchange, wire_format: WireFormat, call: Call, found: Route
    ) -> Callable[[Upstream], tuple[str, bytes]]:
        """Return what tells path and body for an upstream: the client's own bytes unless something must change."""
        cap = exchange.grant.output_cap if exchange.grant is not None else None

        def said_to(upstream: Upstream) -> tuple[str, bytes]:
            model = upstream.called(found.model) if upstream.deployments else found.model
            named = call if call.model == model else msgspec.structs.replace(call, model=model)
            body = wire_format.rewrite(
                call, model=model, output_cap=cap, cap_field=found.facts.cap_field, ask_usage=upstream.stream_usage
            )
            path = deployed(upstream, wire_format.path(named), model)
            exchange.sent = True  # a fault of ours before this is not charged
            return path, body

        return said_to

    def _patience(self, exchange: Exchange) -> float:
        """The client has left. Return for how many seconds to go on, so as to hear the provider's exact figures.

        What a reasoning model thought, nobody else could count; and a picture is all or nothing.
        """
        exchange.outcome = Outcome.CLIENT_LEFT
        self._house.till.metrics.client_left()
        terms = self._house.terms
        call = exchange.call
        if exchange.sent and call is not None and call.defers:
            return max(terms.drain_seconds, NAMING_SECONDS)
        paints = call is not None and call.media is not None and call.media.images > 0
        return terms.drain_seconds if exchange.sent and (terms.drains or exchange.thinks or paints) else 0.0

    def _interrupted(self, exchange: Exchange, watch: Watch) -> None:
        """End the call: its client has left, or the gateway's drain is over."""
        if watch.reason is Reason.DRAINED:
            exchange.outcome = Outcome.GATEWAY_FAILED
            raise ServiceUnavailable("The gateway is shutting down; send the request again.")

    async def _settle_shielded(self, exchange: Exchange) -> None:
        """Settle in a task of its own where the relay has not done so: nothing cancels that one."""
        if exchange.grant is not None and not exchange.settled:
            await asyncio.shield(asyncio.get_running_loop().create_task(settle(self._house.till, exchange)))

    async def _refuse(self, scope: Scope, exchange: Exchange, relay: Relay, error: GatewayError) -> None:
        """Tell the client in its dialect: as a whole answer, or in the stream if that has begun.

        What is under way and not made of events has no place for an error: it ends without its end.
        """
        if exchange.principal is not None and exchange.grant is None:
            self._house.till.metrics.call_refused(error.code or error.kind)
        dialect = self._format.dialect
        if relay.started and exchange.meter is None:
            connection: Connection = scope["extensions"][DISCONNECT]
            connection.hang_up()
            return
        if relay.started:
            await relay.break_off(error)
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
        fields["outcome"] = exchange.outcome if exchange.grant is not None else "refused"
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
