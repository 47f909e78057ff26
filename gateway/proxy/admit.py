"""How much the call may use, then limits -> Grant: the hold is durable before the provider is asked.

The prompt is counted only where a limit needs it: while its bytes (an upper bound) are at most 1/64 of what remains
under every such limit, they stand for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.core.batches import BATCH_TIER
from gateway.core.call import Call
from gateway.core.errors import Forbidden, ServiceUnavailable
from gateway.core.estimates import NOTHING_DEMANDED, ExpectedOutput, demand_of, most_input
from gateway.core.limits import COST, INPUT_TOKENS, OUTPUT_TOKENS, TOKENS, Demand, Limit, amount_of
from gateway.core.media import Media, swept_rates, swept_tokens
from gateway.core.refusals import refusal_error
from gateway.core.selection import Route, check_allowed
from gateway.core.usage import Usage
from gateway.ledger.entries import Caller, Grant, Refused, Reservation, Stale, Subject
from gateway.ledger.ledger import Ledger
from gateway.store.principals import Principal, Principals
from gateway.tokens.counter import TokenCounter
from gateway.tokens.prompts import PromptCount

BYTES_SHARE = 64
BYTES_PER_TOKEN = 4
"""For the sake of a sweep alone, until the first heartbeat has counted."""
MOST_READINGS = 20
NO_USAGE = Usage()
NO_BATCH_USAGE = Usage(service_tier=BATCH_TIER)
PROMPT_METRICS = frozenset({TOKENS, INPUT_TOKENS, COST})
COST_ONLY = frozenset({COST})
CHARGE_METRICS = PROMPT_METRICS | {OUTPUT_TOKENS}


class Admitted(msgspec.Struct, frozen=True):
    """A grant, who it is for as of its revision, and our count of the prompt if one was made."""

    grant: Grant
    principal: Principal
    prompt: PromptCount | None


@dataclass(frozen=True, slots=True)
class Desk:
    """What admission needs of the house."""

    ledger: Ledger
    principals: Principals
    counter: TokenCounter
    expected: ExpectedOutput
    monotonic: Callable[[], float]


async def admit(
    desk: Desk,
    request_id: str,
    key_text: str,
    principal: Principal,
    call: Call,
    route: Route,
    now: float,
    until: float,
) -> Admitted:
    """Reserve under every limit that binds the call. A slow database is waited for until a monotonic moment.

    Raises TooManyRequests for the limit that refuses, Forbidden (model_not_priced, route_not_priced), InvalidKey when
    the key was revoked meanwhile, ServiceUnavailable. Nothing stays held then, nor when it is cancelled.
    """
    prompt: PromptCount | None = None
    trust_bytes = call.text_only
    for _ in range(MOST_READINGS):
        limits = binding(principal, route)
        _check_priced(call, limits, route)
        demand = _without_counting(desk, call, route, limits, now) if trust_bytes and prompt is None else None
        if demand is None:
            if prompt is None:
                waited_since = desk.monotonic()
                prompt = await _counted(desk, call, route)
                until += desk.monotonic() - waited_since  # a long prompt is no slow database
            window = route.facts.context_window
            most = most_input(call, window, prompt.held, exact=prompt.exact, unseen=prompt.unseen)
            demand = _demand(desk, call, route, most, now)
        asked = _reservation(request_id, principal, call, route, limits, demand, prompt, now)
        answer = await desk.ledger.reserve(asked, until)
        match answer:
            case Grant():
                return Admitted(answer, principal, prompt)
            case Stale():
                principal = await desk.principals.reload(key_text, answer.revision, now, until)
                if call.model:
                    names = call.model, route.model, call.other_models
                    check_allowed(principal.models, principal.project_models, *names)
            case Refused() if prompt is None and not call.is_free and _reads_prompt(limits):
                trust_bytes = False
            case Refused():
                raise refusal_error(answer.refusals, answer.now)
    raise ServiceUnavailable("The gateway's keys and limits change faster than they can be read; try again shortly.")


def binding(principal: Principal, route: Route) -> tuple[Limit, ...]:
    """Return the limits that bind calls to the model, by the name that the provider gets: the ledger's name for it."""
    for limit in principal.limits:
        if limit.models is not None:
            return tuple(limit for limit in principal.limits if limit.binds(route.model))
    return principal.limits


async def _counted(desk: Desk, call: Call, route: Route) -> PromptCount:
    """Count the prompt; that of a batch was counted when its lines were read."""
    if call.lines is not None:
        return PromptCount(call.lines.counted_tokens, exact=False, unseen=False)
    return await desk.counter.prompt_for(call, route.model)


def _check_priced(call: Call, limits: tuple[Limit, ...], route: Route) -> None:
    if call.media is not None and route.price is None and any(limit.metric in CHARGE_METRICS for limit in limits):
        _check_media_priced(call.media, limits)
    # What a call of a model costs beside its tokens is nothing to a limit on tokens; of other things nothing is told.
    spends = CHARGE_METRICS if call.is_free else COST_ONLY
    if call.costs and any(limit.metric in spends for limit in limits):
        raise Forbidden(
            "The provider asks money for this that it does not tell of, and this API key has a limit on "
            f"{'cost or tokens' if call.is_free else 'cost'}.",
            code="route_not_priced",
        )
    if not any(limit.metric is COST for limit in limits):
        return
    for model in () if call.is_free else (route.model, *call.other_models):
        price = route.price_of(model)
        if price is not None and price.leaves_open(call.service_tier):
            raise Forbidden(
                f"What the model `{model}` costs at the fast speed is not known here, and this API key has a cost "
                "limit. Ask for the standard speed.",
                code="route_not_priced",
                param="speed" if call.operation == "messages" else "service_tier",
            )
        if price is None:
            raise Forbidden(
                f"The model `{model}` has no price here, and this API key has a cost limit. "
                "An admin can set the price under [prices] in gateway.toml.",
                code="model_not_priced",
                param="model",
            )


def _check_media_priced(media: Media, limits: tuple[Limit, ...]) -> None:
    """Refuse what is paid by nobody knows what: under a limit on tokens it might use any number of them."""
    if media.is_open:
        raise Forbidden(
            "What SVG costs can't be told, because a second model writes it, and this API key has a limit on cost or "
            "tokens. Ask for png, jpeg or webp.",
            code="route_not_priced",
            param="output_format",
        )
    if not any(limit.metric is COST for limit in limits):
        raise Forbidden(
            "The model has no price here, so nobody can say whether it is paid by the token, and this API key has a "
            "limit on tokens. An admin can set the price under [prices] in gateway.toml.",
            code="route_not_priced",
            param="model",
        )


def _reads_prompt(limits: tuple[Limit, ...]) -> bool:
    return any(limit.metric in PROMPT_METRICS for limit in limits)


def _without_counting(desk: Desk, call: Call, route: Route, limits: tuple[Limit, ...], now: float) -> Demand | None:
    """Return the demand if no limit depends on the prompt, or if its bytes are a small part of what remains."""
    if call.is_free:
        return NOTHING_DEMANDED
    if not _reads_prompt(limits):
        outputs = any(limit.metric is OUTPUT_TOKENS for limit in limits)
        return _demand(desk, call, route, 0, now) if outputs else NOTHING_DEMANDED
    size = len(call.body) + call.formula_tokens
    demand = _demand(desk, call, route, size, now)
    for limit in limits:
        if limit.metric in PROMPT_METRICS:
            remaining = desk.ledger.remaining(limit)
            if remaining is None or amount_of(limit.metric, size, 0, demand) * BYTES_SHARE > remaining:
                return None
    return demand


def _demand(desk: Desk, call: Call, route: Route, input_tokens: int, now: float) -> Demand:
    expected = desk.expected.tokens(route.model)
    prices = () if route.price is None else (route.price, *filter(None, map(route.price_of, call.other_models)))
    return demand_of(call, route.facts, prices, input_tokens, expected, int(now))


def _roughly(call: Call) -> int:
    return 0 if call.is_free else len(call.body) // BYTES_PER_TOKEN


def _reservation(
    request_id: str,
    principal: Principal,
    call: Call,
    route: Route,
    limits: tuple[Limit, ...],
    demand: Demand,
    prompt: PromptCount | None,
    now: float,
) -> Reservation:
    nothing = NO_USAGE if call.lines is None else NO_BATCH_USAGE
    rates = route.price.rates(nothing, int(now)) if route.price is not None else None
    input_tokens = prompt.tokens if prompt is not None else _roughly(call)
    input_rate, output_rate, fee = (rates.input, rates.output, 0) if rates is not None else (0, 0, 0)
    if call.media is not None:
        told = call.media.input_tokens
        input_tokens, _ = swept_tokens(call.media, route.price, input_tokens if told is None else told)
        input_rate, output_rate, fee = swept_rates(call.media, rates) if rates is not None else (0, 0, 0)
    return Reservation(
        request_id=request_id,
        revision=principal.revision,
        caller=Caller(principal.api_key_id, principal.project_id, principal.user_id, principal.service_account_id),
        subject=Subject(call.operation, route.model, call.model, route.candidates[0].name),
        limits=limits,
        demand=demand,
        input_tokens=input_tokens,
        input_rate=input_rate,
        output_rate=output_rate,
        fee_nano_usd=fee,
        batch=0 if call.lines is None else 1,
    )
