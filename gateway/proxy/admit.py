"""How much the call may use, then limits -> Grant: the hold is durable before the provider is asked.

The prompt is counted only where a limit needs it: while its bytes (an upper bound) are at most 1/64 of what remains
under every such limit, they stand for it.
"""

from dataclasses import dataclass

import msgspec

from gateway.core.call import Call
from gateway.core.errors import Forbidden, ServiceUnavailable
from gateway.core.estimates import NOTHING_DEMANDED, TOOLS_MARGIN_TOKENS, ExpectedOutput, demand_of
from gateway.core.limits import Demand, Limit, Metric, amount_of
from gateway.core.refusals import refusal_error
from gateway.core.selection import Route, check_allowed
from gateway.core.usage import Usage
from gateway.ledger.entries import Caller, Grant, Refused, Reservation, Stale, Subject
from gateway.ledger.ledger import Ledger
from gateway.store.principals import Principal, Principals
from gateway.tokens.counter import TokenCounter
from gateway.tokens.prompts import PromptCount

BYTES_SHARE = 64
FORMULA_BYTES = 128
"""More tokens than the formulas ever add to a body of text."""
BYTES_PER_TOKEN = 4
"""For the sake of a sweep alone, until the first heartbeat has counted."""
ESTIMATE_MARGIN = 10
"""An estimate holds a tenth more."""
MOST_READINGS = 20
NO_USAGE = Usage()
PROMPT_METRICS = frozenset({Metric.TOKENS, Metric.INPUT_TOKENS, Metric.COST})


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


async def admit(
    desk: Desk, request_id: str, key_text: str, principal: Principal, call: Call, route: Route, now: float
) -> Admitted:
    """Reserve under every limit that binds the call.

    Raises TooManyRequests for the limit that refuses, Forbidden (model_not_priced), InvalidKey when the key was revoked
    meanwhile, ServiceUnavailable. Nothing stays held then, nor when it is cancelled.
    """
    prompt: PromptCount | None = None
    trust_bytes = call.text_only
    for _ in range(MOST_READINGS):
        limits = binding(principal, route)
        _check_priced(call, limits, route)
        demand = _without_counting(desk, call, route, limits, now) if trust_bytes and prompt is None else None
        if demand is None:
            prompt = prompt or await desk.counter.prompt_of(call.operation, route.model, call.body)
            demand = _demand(desk, call, route, _most(prompt, call, route), now)
        asked = _reservation(request_id, principal, call, route, limits, demand, prompt, now)
        answer = await desk.ledger.reserve(asked)
        match answer:
            case Grant():
                return Admitted(answer, principal, prompt)
            case Stale():
                principal = await desk.principals.reload(key_text, answer.revision, now)
                check_allowed(principal.models, call.model, route.model)
            case Refused() if prompt is None and _reads_prompt(limits):
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


def _most(prompt: PromptCount, call: Call, route: Route) -> int:
    """Return what the prompt holds: our count, with a margin where it is an estimate, or the whole context window."""
    if prompt.unseen:
        return max(route.facts.context_window, prompt.tokens)
    if prompt.exact:
        has_tools = b'"tools"' in call.body or b'"functions"' in call.body
        return prompt.tokens + (TOOLS_MARGIN_TOKENS if has_tools else 0)
    return prompt.tokens + prompt.tokens // ESTIMATE_MARGIN + FORMULA_BYTES


def _check_priced(call: Call, limits: tuple[Limit, ...], route: Route) -> None:
    if route.price is None and not call.is_free and any(limit.metric is Metric.COST for limit in limits):
        raise Forbidden(
            f"The model `{route.model}` has no price here, and this API key has a cost limit. "
            "An admin can set the price under [prices] in gateway.toml.",
            code="model_not_priced",
            param="model",
        )


def _reads_prompt(limits: tuple[Limit, ...]) -> bool:
    return any(limit.metric in PROMPT_METRICS for limit in limits)


def _without_counting(desk: Desk, call: Call, route: Route, limits: tuple[Limit, ...], now: float) -> Demand | None:
    """Return the demand if no limit depends on the prompt, or if its bytes are a small part of what remains."""
    if call.is_free:
        return NOTHING_DEMANDED
    if not _reads_prompt(limits):
        outputs = any(limit.metric is Metric.OUTPUT_TOKENS for limit in limits)
        return _demand(desk, call, route, 0, now) if outputs else NOTHING_DEMANDED
    size = len(call.body) + FORMULA_BYTES
    demand = _demand(desk, call, route, size, now)
    for limit in limits:
        if limit.metric in PROMPT_METRICS:
            remaining = desk.ledger.remaining(limit)
            if remaining is None or amount_of(limit.metric, size, 0, demand) * BYTES_SHARE > remaining:
                return None
    return demand


def _demand(desk: Desk, call: Call, route: Route, input_tokens: int, now: float) -> Demand:
    expected = desk.expected.tokens(route.model)
    return demand_of(call, route.facts, route.price, input_tokens, expected, int(now))


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
    rates = route.price.rates(NO_USAGE, int(now)) if route.price is not None else None
    return Reservation(
        request_id=request_id,
        revision=principal.revision,
        caller=Caller(principal.api_key_id, principal.project_id, principal.user_id, principal.service_account_id),
        subject=Subject(call.operation, route.model, call.model, route.candidates[0].name),
        limits=limits,
        demand=demand,
        input_tokens=prompt.tokens if prompt is not None else len(call.body) // BYTES_PER_TOKEN,
        input_rate=rates.input if rates is not None else 0,
        output_rate=rates.output if rates is not None else 0,
    )
