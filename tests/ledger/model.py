"""What the ledger should do, said a second time and as plainly as possible: no SQL, no batches, one call after another.

`used` of all but minute limits is not modelled: it is the sum of the records, which `books.differences` checks in the
database itself. Minutes have a rule of their own and are modelled here.
"""

from dataclasses import dataclass, field

from gateway.core.limits import MINUTE_SECONDS, Interval, Limit, Metric, period_start
from gateway.ledger.entries import Caller, Figures, Grant, Reservation, Settlement, Source
from tests.ledger.books import INPUT_RATE, OUTPUT_RATE, SECOND, Record, charged


@dataclass
class Held:
    """A call in flight: what it took from which counter."""

    asked: Reservation
    grant: Grant
    amounts: dict[tuple[str, int], int]
    progress: tuple[int, int]
    is_kept: bool = False


@dataclass
class Final:
    """How a call was charged."""

    source: Source
    figures: Figures
    is_corrected: bool = False


@dataclass
class Model:
    """The whole ledger. Callers give `now` in Unix seconds; minute counters are opened in the same places."""

    revision: int
    limits: dict[str, Limit] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    finals: dict[str, Final] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    minutes: dict[tuple[str, int], int] = field(default_factory=dict)

    def binding(self, caller: Caller, model: str) -> list[Limit]:
        """Return the limits that bind such a call, by id."""
        found = [one for one in self.limits.values() if caller.is_in(one.scope, one.scope_id) and one.binds(model)]
        return sorted(found, key=lambda one: one.id)

    # --- administration ---

    def add_limit(self, new: Limit, now: int) -> None:
        """A minute begins at nothing; calls in flight join."""
        self.revision += 1
        self.limits[new.id] = new
        if new.interval is Interval.MINUTE:
            self.minutes[new.id, period_start(Interval.MINUTE, now)] = 0
        for held in self.held.values():
            if new in self.binding(held.asked.caller, held.asked.subject.model):
                admitted = held.grant.admitted_at_us // SECOND
                at = period_start(new.interval, now if new.interval is Interval.MINUTE else admitted)
                counts = new.metric is Metric.CONCURRENCY and not held.asked.batch
                held.amounts[new.id, at] = int(counts)

    def change_limit(self, new: Limit) -> None:
        """Only its amount differs."""
        self.revision += 1
        self.limits[new.id] = new

    def delete_limit(self, id: str) -> None:
        """Its counters go with it; what calls hold of it means nothing any more."""
        self.revision += 1
        del self.limits[id]
        self.minutes = {key: used for key, used in self.minutes.items() if key[0] != id}

    # --- calls ---

    def fits(self, asked: Reservation, now: int) -> bool:
        """Tell whether every limit has room for the call."""
        return all(self._has_room(one, asked, now) for one in asked.limits)

    def admit(self, asked: Reservation, grant: Grant, now: int) -> None:
        """Hold what the call may use."""
        amounts = {(one.id, period_start(one.interval, now)): asks(one, asked) for one in asked.limits}
        progress = (asked.input_tokens, 0)
        self.held[asked.request_id] = Held(asked, grant, amounts, progress)

    def void(self, request_id: str) -> None:
        """Give everything back and record nothing."""
        self.held.pop(request_id, None)

    def open_for(self, asked: Reservation, now: int) -> None:
        """A batch opens the minutes that its calls ask for before it does anything, even for a stale call."""
        for one in asked.limits:
            self._open(one.id, now)

    def open_minutes(self, ended: Settlement, now: int) -> None:
        """A batch opens the minutes that its settlements could charge before it does anything."""
        for item in ended.items:
            if item.interval is Interval.MINUTE:
                self._open(item.limit_id, item.period_start)
                self._open(item.limit_id, now)

    def settle(self, ended: Settlement, now: int) -> None:
        """Charge once; correct a sweep once."""
        held = self.held.pop(ended.request_id, None)
        final = self.finals.get(ended.request_id)
        swept = ended.source is Source.SWEPT
        if held is not None or (final is None and not swept):
            self.finals[ended.request_id] = Final(ended.source, ended.figures)
            self._record(ended, "final", ended.figures)
            self._charge_minutes(ended, held, ended.figures, Figures(), now)
        elif final is not None and final.source is Source.SWEPT and not swept and not final.is_corrected:
            final.is_corrected = True
            self._record(ended, "correction", ended.figures - final.figures)
            self._charge_minutes(ended, None, ended.figures, final.figures, now)

    def keep(self, request_id: str) -> None:
        """The provider goes on with it as a job: nobody sweeps it."""
        self.held[request_id].is_kept = True

    def swept(self, held: Held) -> Figures:
        """What a sweep charges: the prompt, and what was delivered at the last heartbeat."""
        input_tokens, output_tokens = held.progress
        cost = (input_tokens * INPUT_RATE + output_tokens * OUTPUT_RATE) // 1000
        return Figures(requests=1, input_tokens=input_tokens, output_tokens=output_tokens, cost_nano_usd=cost)

    # --- inside ---

    def used(self, one: Limit, start: int) -> int:
        """Return what is used in a period."""
        if one.interval is Interval.MINUTE:
            return self.minutes.get((one.id, start), 0)
        return sum(
            charged(one, record) for record in self.records if period_start(one.interval, record.admitted_at) == start
        )

    def _has_room(self, one: Limit, asked: Reservation, now: int) -> bool:
        start = period_start(one.interval, now)
        held = sum(held.amounts.get((one.id, start), 0) for held in self.held.values())
        return one.amount > 0 and self.used(one, start) + held + asks(one, asked) <= one.amount

    def _record(self, ended: Settlement, entry: str, figures: Figures) -> None:
        admitted = ended.admitted_at_us // SECOND
        self.records.append(Record(ended.request_id, entry, admitted, ended.caller, ended.subject.model, figures))

    def _charge_minutes(
        self, ended: Settlement, held: Held | None, now_used: Figures, before: Figures, now: int
    ) -> None:
        """As much as was held belongs to the minute of admission, the rest to the present one."""
        for one in self.binding(ended.caller, ended.subject.model):
            if one.interval is not Interval.MINUTE:
                continue
            items = {item.limit_id: item for item in ended.items}
            amount = items[one.id].amount if one.id in items else 0
            admission = items[one.id].period_start if one.id in items else None
            after, earlier = now_used.amount(one.metric), before.amount(one.metric)
            within = min(after, amount) - min(earlier, amount)
            if within and admission is not None:
                self._open(one.id, admission)
                self.minutes[one.id, admission] += within
            if after - earlier > within and not ended.batch:
                self._open(one.id, now)
                self.minutes[one.id, period_start(Interval.MINUTE, now)] += after - earlier - within

    def _open(self, limit_id: str, now: int) -> None:
        one = self.limits.get(limit_id)
        if one is None or one.interval is not Interval.MINUTE:
            return
        start = period_start(Interval.MINUTE, now)
        if (limit_id, start) in self.minutes:
            return
        earlier = [at for name, at in self.minutes if name == limit_id and at < start]
        carried = 0
        if earlier:
            passed = (start - max(earlier)) // MINUTE_SECONDS
            carried = max(0, self.minutes[limit_id, max(earlier)] - one.amount * passed)
        self.minutes[limit_id, start] = carried


def asks(one: Limit, asked: Reservation) -> int:
    """Return what a call of fixed output holds under a limit."""
    demand = asked.demand
    if demand.batch_lines and (one.interval is Interval.MINUTE or one.metric is Metric.CONCURRENCY):
        return int(one.metric is Metric.REQUESTS)
    output = demand.expected_output_tokens if one.interval is Interval.MINUTE else demand.output_tokens
    return {
        Metric.REQUESTS: demand.batch_lines or 1,
        Metric.CONCURRENCY: 1,
        Metric.TOKENS: demand.input_tokens + output,
        Metric.INPUT_TOKENS: demand.input_tokens,
        Metric.OUTPUT_TOKENS: output,
        Metric.COST: -(-(demand.input_tokens * INPUT_RATE + output * OUTPUT_RATE) // 1000),
    }[one.metric]
