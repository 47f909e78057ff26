"""What operations can watch: every figure that `/metrics` shows, one method per fact that happens.

Counting must cost next to nothing, so a fact is a dictionary update on plain numbers (integers where they are exact);
Prometheus's client library gives them their form when somebody asks. With several workers each publishes its numbers
in a file of a common directory, and whichever worker is asked adds all files up.

No label ever names a key or a person, and no label is free text: models are those of the price table and settings.
"""

import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_MODELS = 200  # series per family multiply with it: enough for every model that a team really calls
MAX_SERIES = 1000  # a last bound for the other labels, which all come from closed sets
OTHER = "other"

Labels = tuple[str, ...]
_STATUS_CLASSES = ("0xx", "1xx", "2xx", "3xx", "4xx", "5xx")
_MOMENTS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Family:
    """One metric with all its series. A counter's or gauge's series is `[value]`.

    A histogram's is the observations per bucket, then over the last bound, then their sum. `unit` is what one of the
    numbers kept is worth in the metric's own unit.
    """

    __slots__ = ("bounds", "documentation", "kind", "labels", "name", "series", "unit")

    def __init__(
        self,
        kind: Literal["counter", "sum_gauge", "max_gauge", "histogram"],
        name: str,
        documentation: str,
        labels: Labels = (),
        *,
        bounds: tuple[float, ...] = (),
        unit: float = 1,
    ) -> None:
        self.kind = kind
        self.name = name
        self.documentation = documentation
        self.labels = labels
        self.bounds = bounds
        self.unit = unit
        self.series: dict[Labels, list[float]] = {}
        if not labels:
            self._open(())

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count `amount` more."""
        try:
            self.series[labels][0] += amount
        except KeyError:
            self._open(labels)[0] += amount

    def set(self, labels: Labels, value: float) -> None:
        """Replace a gauge's value."""
        (self.series.get(labels) or self._open(labels))[0] = value

    def observe(self, labels: Labels, value: float) -> None:
        """Count one observation into its bucket, the first whose bound is not below it."""
        series = self.series.get(labels) or self._open(labels)
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def _open(self, labels: Labels) -> list[float]:
        if len(self.series) >= MAX_SERIES:
            labels = (OTHER,) * len(labels)
        return self.series.setdefault(labels, [0] * (len(self.bounds) + 2 if self.kind == "histogram" else 1))


class Metrics:
    """All metrics of this process. `directory` is where the workers publish to each other, None for a single one."""

    def __init__(self, models: Iterable[str] = (), *, directory: Path | None = None) -> None:
        self._models = frozenset(models)
        self._seen_models: set[str] = set()
        self._directory = directory
        self._file: Path | None = None
        self._declare_call_families()
        self._declare_ledger_families()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_FamilyCollector(self))
        if directory is None:  # the process's own figures cannot be added up
            ProcessCollector(registry=self._registry)
            GCCollector(registry=self._registry)

    def _declare_call_families(self) -> None:
        self._requests = Family(
            "counter", "gateway_requests", "Requests answered.", ("route", "status_class", "dialect")
        )
        self._overhead = Family(
            "histogram", "gateway_overhead_seconds", "Time per call that is ours, not the provider's.", bounds=_MOMENTS
        )
        first_byte = "From our request to the provider's first byte."
        self._first_byte = Family(
            "histogram", "gateway_upstream_first_byte_seconds", first_byte, ("upstream",), bounds=_SECONDS
        )
        self._refusals = Family("counter", "gateway_refusals", "Calls refused, by error code.", ("reason",))
        tokens = "Tokens charged; cached ones are part of the input, reasoning of the output."
        self._tokens = Family("counter", "gateway_tokens", tokens, ("model", "kind"))
        self._cost = Family("counter", "gateway_cost_usd", "US dollars charged.", ("model",), unit=1e-9)
        factor = "By what our estimates of a model's prompts are multiplied, learned from its provider's figures."
        self._estimate_factor = Family("max_gauge", "gateway_estimate_factor", factor, ("model",))
        self._client_disconnects = Family(
            "counter", "gateway_client_disconnects", "Clients that left before their answer ended."
        )
        self._waiting = Family("sum_gauge", "gateway_calls_waiting", "Calls that came and are not admitted yet.")
        self._turned_away = Family("counter", "gateway_calls_turned_away", "Calls refused because too many waited.")
        self._auth_failures = Family("counter", "gateway_auth_failures", "Requests without a valid key.")
        self._upstream_connections = Family(
            "sum_gauge", "gateway_upstream_connections", "Connections to the provider in use.", ("upstream",)
        )
        self._loop_lag = Family("max_gauge", "gateway_event_loop_lag_seconds", "How late the event loop's timers run.")
        self._draining = Family("max_gauge", "gateway_draining", "1 from the stop signal on.")

    def _declare_ledger_families(self) -> None:
        self._notices = Family(
            "counter", "gateway_notices", "Alerts that were sent, or given up.", ("channel", "outcome")
        )
        self._reserve = Family(
            "histogram", "gateway_reserve_seconds", "A call's wait for its reservation.", bounds=_MOMENTS
        )
        self._settle = Family(
            "histogram", "gateway_settle_seconds", "A call's wait for its settlement.", bounds=_MOMENTS
        )
        self._holds_open = Family("sum_gauge", "gateway_holds_open", "Calls admitted and not settled.")
        self._jobs_open = Family("max_gauge", "gateway_jobs_open", "Background responses and batches not charged yet.")
        self._settlements = Family(
            "counter", "gateway_settlements", "Calls settled, by the source of their figures.", ("source", "outcome")
        )
        self._overrun_tokens = Family("counter", "gateway_overrun_tokens", "Tokens charged above what was reserved.")
        self._overrun_cost = Family(
            "counter", "gateway_overrun_usd", "US dollars charged to budgets above what was reserved.", unit=1e-9
        )
        self._spool_records = Family("sum_gauge", "gateway_spool_records", "Settlements that wait for the database.")
        self._batch_size = Family(
            "histogram", "gateway_ledger_batch_size", "Reservations and settlements per commit.", bounds=_BATCH_SIZES
        )
        self._ledger_retries = Family("counter", "gateway_ledger_retries", "Ledger transactions run again.", ("cause",))

    def know_models(self, models: Iterable[str]) -> None:
        """Replace the names that may appear as a model label, as after a reload of settings."""
        self._models = frozenset(models)

    def call_finished(self, route: str, status: int, dialect: str, overhead_seconds: float) -> None:
        """A request on a served route was answered with `status`."""
        self._requests.add((route, _STATUS_CLASSES[status // 100], dialect))
        self._overhead.observe((), overhead_seconds)

    def upstream_answered(self, upstream: str, first_byte_seconds: float) -> None:
        """A provider sent its first byte."""
        self._first_byte.observe((upstream,), first_byte_seconds)

    def call_refused(self, reason: str) -> None:
        """A call was refused; `reason` is the error's code."""
        self._refusals.add((reason,))

    def client_left(self) -> None:
        """A client closed its connection before its answer ended."""
        self._client_disconnects.add(())

    def authentication_failed(self) -> None:
        """A request came without a valid key."""
        self._auth_failures.add(())

    def reserved(self, seconds: float) -> None:
        """A call waited so long for the decision on its reservation."""
        self._reserve.observe((), seconds)

    def settled(
        self, source: str, outcome: str, seconds: float, *, overrun_tokens: int = 0, overrun_nano_usd: int = 0
    ) -> None:
        """A call's settlement was committed or spooled. The overruns are max(0, charged - held)."""
        self._settlements.add((source, outcome))
        self._settle.observe((), seconds)
        if overrun_tokens > 0:
            self._overrun_tokens.add((), overrun_tokens)
        if overrun_nano_usd > 0:
            self._overrun_cost.add((), overrun_nano_usd)

    def usage_charged(
        self,
        model: str,
        cost_nano_usd: int,
        *,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        reasoning_tokens: int = 0,
    ) -> None:
        """A call was charged. Cached tokens are part of the input, reasoning tokens of the output."""
        model = model if model in self._seen_models else self._model_label(model)
        add = self._tokens.add
        add((model, "input"), input_tokens)
        add((model, "output"), output_tokens)
        if cached_tokens:
            add((model, "cached"), cached_tokens)
        if reasoning_tokens:
            add((model, "reasoning"), reasoning_tokens)
        self._cost.add((model,), cost_nano_usd)

    def estimates_calibrated(self, model: str, thousandths: int) -> None:
        """Estimates of this model's prompts are multiplied by so many thousandths from now on."""
        label = model if model in self._seen_models else self._model_label(model)
        if label != OTHER:
            self._estimate_factor.set((label,), thousandths / 1_000)

    def ledger_batch(self, size: int, seconds: float) -> None:
        """One ledger transaction carried `size` reservations and settlements; its time is in theirs."""
        del seconds
        self._batch_size.observe((), size)

    def ledger_spooled(self, records: int) -> None:
        """So many settlements wait in this process's spool."""
        self._spool_records.set((), records)

    def ledger_retried(self, cause: str) -> None:
        """A ledger transaction is run again because of `cause`: busy, deadlock, connection, item."""
        self._ledger_retries.add((cause,))

    def notice_ended(self, channel: str, *, sent: bool) -> None:
        """An alert was sent, or given up after many tries."""
        self._notices.add((channel, "sent" if sent else "given_up"))

    def holds_are_open(self, count: int) -> None:
        """So many calls of this process are admitted and not settled."""
        self._holds_open.set((), count)

    def calls_wait(self, count: int, turned_away: int) -> None:
        """So many calls of this process wait to be admitted; so many were refused since its start, as too many did."""
        self._waiting.set((), count)
        self._turned_away.set((), turned_away)

    def jobs_are_open(self, count: int) -> None:
        """So many background responses and batches, of all processes, go on at their providers."""
        self._jobs_open.set((), count)

    def upstream_connections_are(self, upstream: str, count: int) -> None:
        """So many connections to `upstream` are in use."""
        self._upstream_connections.set((upstream,), count)

    def event_loop_lagged(self, seconds: float) -> None:
        """A timer of this process's event loop ran so late."""
        self._loop_lag.set((), seconds)

    def draining(self) -> None:
        """The stop signal came."""
        self._draining.set((), 1)

    def render(self) -> bytes:
        """Return the exposition that `/metrics` answers with, of all workers."""
        return generate_latest(self._registry)

    def publish(self) -> None:
        """Let the other workers see this one's numbers; about once a second. Does nothing for a single process."""
        if self._directory is not None:
            self._write({family.name: list(family.series.items()) for family in self.families()})

    def close(self) -> None:
        """Leave the counts behind for the other workers and take the gauges along."""
        if self._directory is not None:
            lasting = (family for family in self.families() if family.kind in ("counter", "histogram"))
            self._write({family.name: list(family.series.items()) for family in lasting})

    def families(self) -> Iterator[Family]:
        """All families of this process, as they are declared."""
        return (value for value in vars(self).values() if isinstance(value, Family))

    def totals(self) -> Iterator[Family]:
        """All families, over all workers where there are several."""
        if self._directory is None:
            return self.families()
        # What is shown is what was published, this worker's own too: a figure that was ahead of its file in one
        # scrape would seem to fall in the next, through another worker, and Prometheus takes that for a restart.
        self.publish()
        return iter(_added_up(self.families(), self._directory))

    def _model_label(self, model: str) -> str:
        if model not in self._models:
            return next((model[:end] for end in range(len(model), 0, -1) if f"{model[:end]}*" in self._models), OTHER)
        if len(self._seen_models) >= MAX_MODELS:
            return OTHER
        self._seen_models.add(model)
        return model

    def _write(self, snapshot: "_Snapshot") -> None:
        if self._directory is None:
            return
        if self._file is None:
            # A name of its own even when the system hands a dead worker's process id out again.
            descriptor, name = tempfile.mkstemp(".metrics", f"{os.getpid()}-", self._directory)
            os.close(descriptor)
            self._file = Path(name)
        beside = self._file.with_suffix(".new")
        beside.write_bytes(_encode(snapshot))
        beside.replace(self._file)


_Snapshot = dict[str, list[tuple[Labels, list[float]]]]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Snapshot).decode


def _added_up(families: Iterable[Family], directory: Path) -> list[Family]:
    """Return new families with what every worker published. A dead worker's counts stay, its gauges do not."""
    totals = {
        family.name: Family(
            family.kind, family.name, family.documentation, family.labels, bounds=family.bounds, unit=family.unit
        )
        for family in families
    }
    for file in directory.glob("*.metrics"):
        alive = _is_alive(int(file.name.partition("-")[0]))
        for name, series in _decode(file.read_bytes() or b"{}").items():
            total = totals[name]
            if alive or total.kind in ("counter", "histogram"):
                _add_series(total, series)
    return list(totals.values())


def _add_series(total: Family, series: list[tuple[Labels, list[float]]]) -> None:
    for labels, values in series:
        before = total.series.get(labels, [0] * len(values))
        combine = max if total.kind == "max_gauge" else float.__add__
        total.series[labels] = [combine(float(old), float(new)) for old, new in zip(before, values, strict=True)]


def _is_alive(process_id: int) -> bool:
    with suppress(PermissionError):  # somebody else's by now: alive, and as good as ours for this purpose
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return False
    return True


class _FamilyCollector(Collector):
    """Gives the families the form that Prometheus's library renders."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return map(_rendered, self._metrics.totals())


def _rendered(family: Family) -> Metric:
    match family.kind:
        case "counter":
            counter = CounterMetricFamily(family.name, family.documentation, labels=family.labels)
            for labels, values in family.series.items():
                counter.add_metric(labels, values[0] * family.unit)
            return counter
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.documentation, labels=family.labels)
            for labels, values in family.series.items():
                histogram.add_metric(labels, _cumulative(family.bounds, values), values[-1])
            return histogram
        case _:
            gauge = GaugeMetricFamily(family.name, family.documentation, labels=family.labels)
            for labels, values in family.series.items():
                gauge.add_metric(labels, values[0])
            return gauge


def _cumulative(bounds: tuple[float, ...], values: list[float]) -> list[tuple[str, float]]:
    counted = 0.0
    buckets = []
    for bound, count in zip((*map(str, bounds), "+Inf"), values, strict=False):  # the sum at the end has no bound
        counted += count
        buckets.append((bound, counted))
    return buckets
