"""What one batch does to the database, decided purely: no SQL, no clock, the same for SQLite and PostgreSQL.

A batch settles first (it makes room), then voids, then reserves in the order of arrival. `plan` names the counters that
the transaction must open and lock; `apply` turns what it read into rows to insert and differences to add.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import add

import msgspec

from gateway.core.limits import MINUTE, MINUTE_SECONDS, Interval, Limit, Metric, Standing, decide, period_start
from gateway.ledger.entries import Figures, Grant, Item, Refused, Reservation, Settlement, Source, Stale

MICROSECONDS = 1_000_000
SWEPT = Source.SWEPT

CounterKey = tuple[str, int]
"""(limit id, period start)."""


@dataclass(slots=True)
class Batch:
    """What waits for one commit."""

    reservations: list[Reservation] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    voids: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.reservations) + len(self.settlements) + len(self.voids)


class Counts(msgspec.Struct):
    """A counter's figures as read, or a difference to add to it."""

    used: int = 0
    held: int = 0


class ReleasedItem(msgspec.Struct, frozen=True):
    """A hold item that the transaction just deleted."""

    request_id: str
    limit_id: str
    period_start: int
    amount: int


class Final(msgspec.Struct, frozen=True):
    """A final usage record that is already there, for a settlement whose hold is not."""

    request_id: str
    source: Source
    is_corrected: bool
    figures: Figures


@dataclass(slots=True)
class State:
    """What the transaction read under its locks. Holds of settled and voided calls are already deleted.

    `kinds` has metric and interval of limits, also of those that were made while a call was in flight: its hold then
    has items that its settlement does not know. `limits` are those of the callers whose holds are gone.
    """

    now_us: int
    revision: int
    counters: dict[CounterKey, Counts]
    released_holds: set[str] = field(default_factory=set)
    released_items: list[ReleasedItem] = field(default_factory=list)
    finals: dict[str, Final] = field(default_factory=dict)
    kinds: dict[str, tuple[Metric, Interval | None]] = field(default_factory=dict)
    limits: list[tuple[Limit, int]] = field(default_factory=list)
    starts: Mapping[Interval | None, int] = field(init=False)

    def __post_init__(self) -> None:
        self.set_now(self.now_us)

    def set_now(self, now_us: int) -> None:
        """Take the database's clock, which says in which periods everything happens."""
        self.now_us = now_us
        self.starts = period_starts(now_us)


class Entry(msgspec.Struct, frozen=True):
    """A usage row to insert."""

    settlement: Settlement
    kind: str
    figures: Figures
    settled_at_us: int


@dataclass(slots=True)
class Effects:
    """What to write, and what each reservation is told once it is durable."""

    deltas: dict[CounterKey, Counts] = field(default_factory=dict)
    granted: list[tuple[Reservation, Grant]] = field(default_factory=list)
    answers: list[Grant | Refused | Stale] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True when nothing has to be written beyond the deletes that were already made."""
        return not (self.deltas or self.granted or self.entries)

    def delta(self, key: CounterKey) -> Counts:
        """Return the difference to add to a counter, for changing."""
        counts = self.deltas.get(key)
        if counts is None:
            counts = self.deltas[key] = Counts()
        return counts


def period_starts(now_us: int) -> Mapping[Interval | None, int]:
    """Return the start of every interval's period at that time, in Unix seconds."""
    return _starts_in_minute(now_us // (MINUTE_SECONDS * MICROSECONDS))


@lru_cache(maxsize=4)
def _starts_in_minute(minute: int) -> Mapping[Interval | None, int]:
    """All periods begin with a minute, so hundreds of batches share one answer."""
    return {interval: period_start(interval, minute * MINUTE_SECONDS) for interval in (None, *Interval)}


def plan(batch: Batch, now_us: int) -> list[CounterKey]:
    """Return the counters to open and lock, in the one global order."""
    starts = period_starts(now_us)
    keys = {(limit.id, starts[limit.interval]) for ask in batch.reservations for limit in ask.limits}
    for settlement in batch.settlements:
        for item in settlement.items:
            keys.add((item.limit_id, item.period_start))
            if item.interval is MINUTE:
                keys.add((item.limit_id, starts[MINUTE]))
    return sorted(keys)


def unknown_limits(batch: Batch, state: State) -> list[str]:
    """Note the kinds of limits that settlements name; return those of released items that none of them does."""
    for settlement in batch.settlements:
        for item in settlement.items:
            state.kinds[item.limit_id] = item.metric, item.interval
    return sorted({item.limit_id for item in state.released_items} - state.kinds.keys())


def apply(batch: Batch, state: State) -> Effects:
    """Decide the whole batch. Settlements make room for the reservations behind them."""
    effects = Effects()
    items = _items_by_request(state.released_items)
    for item in state.released_items:
        effects.delta((item.limit_id, item.period_start)).held -= item.amount
    for settlement in _once(batch.settlements):
        _settle(settlement, items.get(settlement.request_id, ()), state, effects)
    for reservation in batch.reservations:
        effects.answers.append(_reserve(reservation, state, effects))
    return effects


def _once(settlements: Sequence[Settlement]) -> Iterable[Settlement]:
    """Return one settlement per call: the first that is not a sweep's guess, if there is one."""
    chosen: dict[str, Settlement] = {}
    for settlement in settlements:
        present = chosen.get(settlement.request_id)
        if present is None or (present.source is SWEPT and settlement.source is not SWEPT):
            chosen[settlement.request_id] = settlement
    return chosen.values()


def _items_by_request(released: Iterable[ReleasedItem]) -> Mapping[str, list[ReleasedItem]]:
    by_request: dict[str, list[ReleasedItem]] = {}
    for item in released:
        by_request.setdefault(item.request_id, []).append(item)
    return by_request


def _settle(settlement: Settlement, released: Sequence[ReleasedItem], state: State, effects: Effects) -> None:
    final = state.finals.get(settlement.request_id)
    swept = settlement.source is SWEPT
    if settlement.request_id in state.released_holds:
        effects.entries.append(Entry(settlement, "final", settlement.figures, state.now_us))
        _charge(settlement, _items(settlement, released, state), Figures(), state, effects)
    elif swept:
        return  # Somebody settled it between the sweep's reading and this transaction.
    elif final is None:
        effects.entries.append(Entry(settlement, "final", settlement.figures, state.now_us))
        _charge(settlement, _items_now(settlement, state), Figures(), state, effects)
    elif final.source is SWEPT and not final.is_corrected:
        effects.entries.append(Entry(settlement, "correction", settlement.figures - final.figures, state.now_us))
        _charge(settlement, _items_now(settlement, state), final.figures, state, effects)


def _items(settlement: Settlement, released: Sequence[ReleasedItem], state: State) -> Sequence[Item]:
    """Return the items it was admitted under and those that were added to its hold since, by new limits."""
    known = {item.limit_id for item in settlement.items}
    added = [
        Item(item.limit_id, *state.kinds[item.limit_id], item.period_start, item.amount)
        for item in released
        if item.limit_id not in known and item.limit_id in state.kinds
    ]
    return [*settlement.items, *added] if added else settlement.items


def _items_now(settlement: Settlement, state: State) -> Sequence[Item]:
    """Return what to charge when the hold is gone: limits that were made since could not join it, but bind its caller.

    They opened with the usage that was recorded by then in their first period, so what is recorded now is theirs too,
    unless it belongs to a period before that.
    """
    known = {item.limit_id for item in settlement.items}
    admitted = settlement.admitted_at_us // MICROSECONDS
    added = [
        Item(limit.id, limit.metric, limit.interval, period_start(limit.interval, admitted), 0)
        for limit, created_at in state.limits
        if limit.id not in known
        and settlement.caller.is_in(limit.scope, limit.scope_id)
        and limit.binds(settlement.subject.model)
        and (limit.interval is MINUTE or admitted >= period_start(limit.interval, created_at))
    ]
    return [*settlement.items, *added]


def _charge(settlement: Settlement, items: Iterable[Item], before: Figures, state: State, effects: Effects) -> None:
    """Add what the call used, less what was charged before, to the counters it was admitted under.

    The charge belongs to the period of admission. Of a minute limit only as much as was held does, and the rest goes to
    the present minute, so that a past minute never grows beyond what it admitted. The lines of a batch are no traffic
    of any minute: it is charged there as the one call that it was.
    """
    now = settlement.figures
    for item in items:
        charge = now.amount(item.metric) - before.amount(item.metric)
        key = (item.limit_id, item.period_start)
        if item.interval is MINUTE:
            within = min(now.amount(item.metric), item.amount) - min(before.amount(item.metric), item.amount)
            # A correction downwards gives nothing back to the present minute: it was another that paid.
            if charge > within and not settlement.batch:
                present = state.starts[MINUTE]
                effects.delta((item.limit_id, present)).used += charge - within
            charge = within
        if charge:
            effects.delta(key).used += charge


def _reserve(reservation: Reservation, state: State, effects: Effects) -> Grant | Refused | Stale:
    if reservation.revision != state.revision:
        return Stale(state.revision)
    standings: list[Standing] = []
    for limit in reservation.limits:
        standing = _standing(limit, state, effects)
        if standing is None:
            return Stale(state.revision)
        standings.append(standing)
    admission = decide(reservation.demand, standings)
    if admission.refusals:
        return Refused(admission.refusals, state.now_us / MICROSECONDS)
    grant_items = []
    for standing, amount in zip(standings, admission.amounts, strict=True):
        limit = standing.limit
        standing.held += amount
        effects.delta((limit.id, standing.period_start)).held += amount
        grant_items.append(Item(limit.id, limit.metric, limit.interval, standing.period_start, amount))
    grant = Grant(reservation.request_id, state.now_us, tuple(grant_items), admission.output_cap, tuple(standings))
    effects.granted.append((reservation, grant))
    return grant


def _standing(limit: Limit, state: State, effects: Effects) -> Standing | None:
    """Return the limit's counter with this batch's differences; None if the limit was deleted meanwhile."""
    key = (limit.id, state.starts[limit.interval])
    read = state.counters.get(key)
    if read is None:
        return None
    change = effects.deltas.get(key)
    if change is None:
        return Standing(limit, key[1], read.used, read.held)
    return Standing(limit, key[1], read.used + change.used, read.held + change.held)


RollupKey = tuple[str, int, str, str, str, int]
"""(api key, start, operation, model, service tier, batch): the primary key of usage_hour and usage_day."""
Rollups = dict[RollupKey, tuple[Settlement, list[int]]]
"""One settlement of each bucket, for its owner, and sums in the order of the tables' sum columns."""

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400


def rollups(entries: Iterable[Entry]) -> tuple[Rollups, Rollups]:
    """Add up entries by hour and by day of admission, keys sorted."""
    hours: Rollups = {}
    for entry in entries:
        record = entry.settlement
        admitted = record.admitted_at_us // MICROSECONDS
        key = (
            record.caller.api_key_id,
            admitted - admitted % HOUR_SECONDS,
            record.subject.operation,
            record.subject.model,
            record.service_tier,
            record.batch,
        )
        _add_up(hours, key, record, rollup_sums(entry))
    days: Rollups = {}
    for (api_key, start, *rest), (record, sums) in hours.items():
        _add_up(days, (api_key, start - start % DAY_SECONDS, *rest), record, sums)  # type: ignore[arg-type]
    return _sorted(hours), _sorted(days)


def _add_up(rollups: Rollups, key: RollupKey, record: Settlement, sums: list[int]) -> None:
    present = rollups.get(key)
    rollups[key] = (record, sums if present is None else list(map(add, present[1], sums)))


def _sorted(rollups: Rollups) -> Rollups:
    return dict(sorted(rollups.items())) if len(rollups) > 1 else rollups


def rollup_sums(entry: Entry) -> list[int]:
    """Return one entry's part of a rollup row, in the order of the rollup tables' sum columns."""
    figures = entry.figures
    return [
        figures.requests,
        figures.succeeded,
        figures.input_tokens,
        figures.cached_tokens,
        figures.cache_write_tokens + figures.cache_write_1h_tokens,
        figures.input_audio_tokens,
        figures.input_image_tokens,
        figures.output_tokens,
        figures.reasoning_tokens,
        figures.output_audio_tokens,
        figures.images,
        figures.audio_ms,
        figures.characters,
        figures.cost_nano_usd or 0,
        1 if figures.cost_nano_usd is None and entry.kind == "final" else 0,
    ]
