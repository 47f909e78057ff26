"""How a hold whose process died is settled: the counted prompt and what was delivered at the last heartbeat.

Never a refund (the provider was asked, or may have been) and never a leak (the hold is gone with the settlement).
"""

from collections.abc import Iterable, Mapping

from gateway.core.money import PICO_PER_NANO, nano_half_even
from gateway.ledger.entries import Caller, Figures, Item, Outcome, Settlement, Source, Subject

SWEPT_COLUMNS = (
    "request_id", "admitted_at_us", "api_key_id", "project_id", "user_id", "service_account_id",
    "operation", "model", "requested_model", "upstream", "input_tokens", "input_rate", "output_rate", "delivered",
    "fee_nano_usd", "batch",
)  # fmt: skip
SweptRow = tuple[str, int, str, str, str | None, str | None, str, str, str, str, int, int, int, int, int, int]


def swept(row: SweptRow, items: Iterable[Item]) -> Settlement:
    """Make the settlement of an abandoned hold. Cost is rounded half-even to nano-USD, as for any call."""
    (request_id, admitted_at_us, api_key, project, user, service_account, *subject) = row[:10]
    input_tokens, input_rate, output_rate, delivered, fee_nano_usd, batch = row[10:]
    fee_pico = fee_nano_usd * PICO_PER_NANO
    pico = input_tokens * input_rate + delivered * output_rate + fee_pico
    return Settlement(
        request_id=request_id,
        admitted_at_us=admitted_at_us,
        caller=Caller(api_key, project, user, service_account),
        subject=Subject(*subject),
        items=tuple(items),
        figures=Figures(
            requests=1, input_tokens=input_tokens, output_tokens=delivered, cost_nano_usd=nano_half_even(pico)
        ),
        source=Source.SWEPT,
        outcome=Outcome.GATEWAY_FAILED,
        status=0,
        service_tier="batch" if batch else "",
        batch=batch,
        rates=f'{{"input":{input_rate},"output":{output_rate}' + (f',"request":{fee_pico}}}' if fee_pico else "}"),
    )


def gather(rows: Iterable[SweptRow], items: Mapping[str, list[Item]]) -> list[Settlement]:
    """Make settlements of rows and their items by request id."""
    return [swept(row, items.get(row[0], ())) for row in rows]
