"""What this process believes the database holds, so that a batch can be decided before anything is read.

Who is alone on its counters is right nearly always: the database then compares and writes in one statement, one round
trip and one commit. Whoever is wrong has written nothing and goes the long way, which reads under locks; where others
change the same counters all the time, it is tried ever more seldom.
"""

from collections.abc import Mapping, Sequence

from gateway.ledger.effects import Batch, CounterKey, Counts, Effects, ReleasedItem, State, plan, unknown_limits
from gateway.ledger.entries import Grant, Item, Source

MOST_COUNTERS = 10_000
LONGEST_REST = 64
"""At most so many batches go the long way behind a wrong guess."""


class Known:
    """Counters, revision and clock as they were seen last. Nothing in here is true until the database says so."""

    def __init__(self) -> None:
        self.counters: dict[CounterKey, Counts] = {}
        self.ahead_us = 0
        """How far the database's clock is ahead of ours."""
        self._revision = -1
        self._rest = 0
        self._wrong = 0

    def forget(self) -> None:
        """After trouble of any kind: read before anything is decided."""
        self.counters.clear()

    def expect(self, batch: Batch, now_us: int) -> State | None:
        """Return what the transaction would read, None if it must really be read. `now_us` is by the database's clock.

        A call is expected to have just the hold items that it was granted.
        """
        if self._rest:
            self._rest -= 1
            return None
        if batch.voids or len({settled.request_id for settled in batch.settlements}) < len(batch.settlements):
            return None
        counters: dict[CounterKey, Counts] = {}
        for key in plan(batch, now_us):
            counts = self.counters.get(key)
            if counts is None:
                return None
            counters[key] = counts
        state = State(now_us, self._revision, counters)
        for settled in batch.settlements:
            if settled.source is Source.SWEPT:
                return None
            state.released_holds.add(settled.request_id)
            state.released_items += released(settled.request_id, settled.items)
        unknown_limits(batch, state)
        return state

    def remember(self, state: State, effects: Effects) -> None:
        """Take over what a committed transaction found and left behind."""
        if len(self.counters) > MOST_COUNTERS:
            self.counters.clear()
        self._revision = state.revision
        for key, found in state.counters.items():
            change = effects.deltas.get(key)
            self.counters[key] = found if change is None else Counts(found.used + change.used, found.held + change.held)

    def was_right(self) -> None:
        """Guess again at once. One lucky guess between others' changes does not undo what the wrong ones told."""
        self._wrong = max(0, self._wrong - 1)

    def was_wrong(self) -> None:
        """Rest for twice as many batches as the last time."""
        self._wrong += 1
        self._rest = min(2**self._wrong - 1, LONGEST_REST)


def released(request_id: str, items: Sequence[Item]) -> list[ReleasedItem]:
    """Return hold items as their rows have them."""
    return [ReleasedItem(request_id, item.limit_id, item.period_start, item.amount) for item in items]


def is_certain(effects: Effects, state: State) -> bool:
    """Tell whether a guess may stand if the database agrees: a refusal is never told from memory.

    Nor is there anything to compare where a settlement charges a counter that nobody read.
    """
    return all(isinstance(answer, Grant) for answer in effects.answers) and _covers(state.counters, effects)


def _covers(counters: Mapping[CounterKey, Counts], effects: Effects) -> bool:
    return all(key in counters for key in effects.deltas)
