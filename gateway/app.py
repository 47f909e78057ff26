"""The wiring: which parts there are, what each is given, in which order they open and close. It decides nothing."""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import resources

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import logs, routes
from gateway.admin import boundary
from gateway.admin.failed_logins import QUIET_SECONDS, FailedLogins
from gateway.admin.operations import Operations
from gateway.alerts import MAIL, WEBHOOK, Alerts
from gateway.core.errors import GatewayError
from gateway.core.estimates import ExpectedOutput
from gateway.core.prices import PriceTable
from gateway.core.selection import Catalog
from gateway.core.upstreams import Upstream
from gateway.couriers.courier import Courier
from gateway.couriers.destinations import Hook, signing_key
from gateway.cycle import RawHeaders, Refusal
from gateway.ledger.ledger import Ledger, Transactions
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.standin import SPOOL_AFTER_SECONDS
from gateway.me.endpoint import Services as MeServices
from gateway.me.models import Shelf
from gateway.metrics import Metrics
from gateway.middleware import AccessLog, Cors, Edge
from gateway.proxy.accept import BodyBudget
from gateway.proxy.admit import Desk
from gateway.proxy.endpoint import House, Terms
from gateway.proxy.follow import Follower
from gateway.proxy.till import Till
from gateway.proxy.turnstile import Turnstile
from gateway.settings import CatalogSettings, Settings, SettingsError, load_catalog, load_settings
from gateway.sources import SystemClock, random_base62
from gateway.store import migrate, retention
from gateway.store.engine import Database, is_sqlite, postgres_dsn, sqlite_path
from gateway.store.job_book import JobBook
from gateway.store.principals import Principals
from gateway.tokens.counter import TokenCounter
from gateway.upstream.known import known_models
from gateway.upstream.models import ModelLists
from gateway.upstream.pool import Pool

PULSE_SECONDS = 1.0
GC_THRESHOLDS = (2_000, 5, 100)
"""Calls leave next to no cycles behind: looking for them after every 700 objects finds nothing, at every turn. But what
is looked through at once holds up everybody: under 4,000 connections a round took 80 ms after every 10,000 objects, and
takes 10 to 20 so."""
OWNER_CHARACTERS = 16
HOUR_SECONDS = 3_600
ANSWER_SECONDS = 0.5
"""What is left of the wait for a slow database when its work is given up: time to tell the client."""

log = logging.getLogger(__name__)


def from_environment() -> "Gateway":
    """Make the application of a worker process."""
    return Gateway(load_settings(os.environ), reload=lambda: load_catalog(os.environ), owns_process=True)


class Gateway:
    """The ASGI application. `demo` adds the built-in upstream; `reload` reads upstreams, models and prices again.

    `owns_process` says that nothing else of weight lives in this process: once started it spares the collector what
    stays for good. `late_seconds` is how long a settlement's commit may take before the spool stands in for it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        demo: bool = False,
        reload: Callable[[], CatalogSettings] | None = None,
        owns_process: bool = False,
        late_seconds: float = SPOOL_AFTER_SECONDS,
    ) -> None:
        self._settings = settings
        self._late_seconds = late_seconds
        self._owns_process = owns_process
        self._demo = demo
        self._reload = reload
        self._clock = SystemClock()
        self._log = logs.configure(settings.log_level, settings.secrets)
        self._catalog = Catalog((), {}, load_prices({}))
        self._demo_upstreams: tuple[Upstream, ...] = ()
        self._rooms: routes.Rooms | None = None
        self._switch: routes.Switch | None = None
        self._served: ASGIApp | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan, which comes first."""
        if self._served is None or scope["type"] == "lifespan":
            return self._live(receive, send)
        return self._served(scope, receive, send)

    def turn_away(self, method: str, path: bytes, headers: RawHeaders) -> Refusal | None:
        """Refuse a call while too many wait, at a fraction of what it costs to begin it.

        Pages need headers to read an answer by: they are refused in the river. Health checks are answered past a crowd.
        """
        if self._rooms is None or self._switch is None or not self._rooms.house.turnstile.is_crowded:
            return None
        if path == b"/healthz" and method == "GET":
            return Refusal(200, self._rooms.operations.in_brief(), b"", at_once=True)
        if not self._rooms.house.turnstile.is_full:
            return None
        call = self._switch.call_at(method, path)
        return None if call is None or any(name == b"origin" for name, _ in headers) else Refusal(*call.turned_away())

    def on_drain(self) -> None:
        """The process is asked to stop: not ready from now on, though requests are still served."""
        if self._rooms is not None:
            self._rooms.operations.is_open = False
            self._rooms.operations.metrics.draining()

    def on_drain_timeout(self) -> None:
        """Running calls must end now, settled."""
        if self._rooms is not None:
            self._rooms.house.interrupt_all()

    def on_reload(self) -> None:
        """Read upstreams, models and prices again; what cannot be read changes nothing."""
        if self._reload is None:
            return
        try:
            chosen = self._reload()
            if not chosen.upstreams and not self._demo:
                raise SettingsError("No upstream is left, and no start would do without one.")
            self._set_catalog(chosen)
            log.info("upstreams, models and prices were read again")
        except (SettingsError, ValueError) as error:
            log.error("the settings were not reloaded: %s", error)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._lead(receive, send)
        except Exception:  # Whatever it is goes on; but it must be said before the log closes.
            log.exception("the gateway's start or end failed")
            raise
        finally:
            self._log.close()  # else a process that ends at once takes its last words with it

    async def _lead(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            try:
                await self._open(stack)
            except (GatewayError, OSError) as error:
                log.critical("the gateway cannot start: %s", error)
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, stack: AsyncExitStack) -> None:
        """Open every part; the stack closes them in the opposite order."""
        settings, clock = self._settings, self._clock
        metrics = Metrics(load_prices(settings.catalog.prices).labels(), directory=settings.metrics_folder)
        stack.callback(metrics.close)
        counter = TokenCounter()
        stack.callback(counter.close)
        if self._demo:
            from gateway.upstream.demo import DemoUpstream  # noqa: PLC0415 - a web server that no real start needs

            demo = await stack.enter_async_context(DemoUpstream(counter.text_now))
            self._demo_upstreams = (Upstream("demo", "demo", demo.base_url, "", objects=False),)
        self._set_catalog(settings.catalog)
        transactions = self._transactions(metrics)
        run = transactions.run if isinstance(transactions, SqliteLedger) else None
        database = Database(settings.database_url, run)
        stack.push_async_callback(database.close)
        ledger = self._ledger(transactions, metrics)
        stack.push_async_callback(ledger.close)
        await ledger.open()
        principals = Principals(database, metrics, patience_seconds=settings.database_wait_seconds / 2)
        stack.push_async_callback(principals.close)
        pool = await stack.enter_async_context(Pool())
        lists = ModelLists(pool, clock.monotonic)
        stack.push_async_callback(lists.close)
        self._rooms = self._furnish(database, ledger, principals, pool, lists, counter, metrics)
        # Access records are of level info, though they do not go through the standard library's logging.
        access_log = AccessLog(self._log if log.isEnabledFor(logging.INFO) else logs.Unwritten(), clock)
        self._switch = routes.build(self._rooms)
        edge = Edge(self._switch, cors=Cors(settings.cors_origins), access_log=access_log)
        alerts = self._alerts(database, metrics)
        stack.push_async_callback(alerts.close)
        await stack.enter_async_context(self._behind(self._rooms, alerts, counter, pool, metrics, database))
        self._served = edge

    def _transactions(self, metrics: Metrics) -> Transactions:
        owner = random_base62(OWNER_CHARACTERS)
        url = self._settings.database_url

        def now_us() -> int:
            return int(self._clock.now() * 1_000_000)

        if is_sqlite(url):
            return SqliteLedger(sqlite_path(url), owner, now_us)
        from gateway.ledger.line import WORK_SECONDS  # noqa: PLC0415 - a driver that SQLite has no use for
        from gateway.ledger.postgres import PostgresLedger  # noqa: PLC0415 - as above

        work_seconds = max(WORK_SECONDS, self._settings.database_wait_seconds - ANSWER_SECONDS)
        return PostgresLedger(postgres_dsn(url), owner, now_us, metrics.ledger_retried, work_seconds)

    def _ledger(self, transactions: Transactions, metrics: Metrics) -> Ledger:
        sole = isinstance(transactions, SqliteLedger)
        spool = self._settings.data_folder / "spool"
        late_seconds = self._late_seconds
        return Ledger(transactions, spool, metrics, self._clock.monotonic, sole_owner=sole, late_seconds=late_seconds)

    def _furnish(
        self,
        database: Database,
        ledger: Ledger,
        principals: Principals,
        pool: Pool,
        lists: ModelLists,
        counter: TokenCounter,
        metrics: Metrics,
    ) -> routes.Rooms:
        settings, clock = self._settings, self._clock
        expected = ExpectedOutput()
        jobs = JobBook(database, clock.now, settings.job_seconds)
        till = Till(ledger, database, jobs, pool, lambda: self._catalog, counter, expected, metrics, clock.monotonic)
        house = House(
            clock=clock,
            turnstile=Turnstile(settings.max_waiting),
            database=database,
            principals=principals,
            catalog=lambda: self._catalog,
            desk=Desk(ledger, principals, counter, expected, clock.monotonic),
            till=till,
            pool=pool,
            follower=Follower(till),
            budget=BodyBudget(settings.max_bodies_bytes),
            terms=Terms(
                settings.max_body_bytes,
                settings.max_form_bytes,
                settings.on_disconnect == "drain",
                settings.disconnect_drain_seconds,
                settings.database_wait_seconds,
            ),
            running=set(),
        )
        failed_logins = FailedLogins(database, random_base62)
        administration = boundary.Services(
            database, principals, clock, random_base62, lambda: known_models(self._catalog, lists), failed_logins
        )
        return routes.Rooms(
            house=house,
            me=MeServices(database, principals, clock),
            shelf=Shelf(lambda: self._catalog, lists),
            administration=administration,
            operations=Operations(administration, metrics, lambda: ledger.available),
        )

    def _alerts(self, database: Database, metrics: Metrics) -> Alerts:
        settings = self._settings
        couriers: dict[str, Courier] = {}
        if settings.smtp_server is not None:
            from gateway.couriers.mail import MailCourier  # noqa: PLC0415 - a mail client that few gateways need

            couriers[MAIL] = MailCourier(settings.smtp_server, settings.smtp_from)
        if settings.webhook_url is not None:
            from gateway.couriers.webhook import WebhookCourier  # noqa: PLC0415 - as above

            key = signing_key(settings.webhook_secret or "")
            couriers[WEBHOOK] = WebhookCourier(Hook(settings.webhook_url, key, settings.webhook_private))
        recipients, percents = settings.alert_recipients, settings.budget_percents
        return Alerts(database, self._clock, couriers, metrics, recipients=recipients, percents=percents)

    def _set_catalog(self, chosen: CatalogSettings) -> None:
        upstreams = (*chosen.upstreams, *self._demo_upstreams)
        self._catalog = Catalog(upstreams, chosen.aliases, load_prices(chosen.prices))
        if self._rooms is not None:
            self._rooms.operations.metrics.know_models(self._catalog.prices.labels())
        self._log.learn_secrets(upstream.api_key for upstream in upstreams if upstream.api_key)

    @asynccontextmanager
    async def _behind(
        self,
        rooms: routes.Rooms,
        alerts: Alerts,
        counter: TokenCounter,
        pool: Pool,
        metrics: Metrics,
        database: Database,
    ) -> AsyncIterator[None]:
        """Run what goes on behind the calls: vocabulary, gauges, jobs, and what is due by the clock."""

        async def warm() -> None:
            await counter.warm()
            if self._owns_process:
                gc.collect()
                gc.freeze()
                gc.set_threshold(*GC_THRESHOLDS)

        async def pulse() -> None:
            while True:
                due = self._clock.monotonic() + PULSE_SECONDS
                await asyncio.sleep(PULSE_SECONDS)
                metrics.event_loop_lagged(max(self._clock.monotonic() - due, 0.0))
                for name, load in pool.load().items():
                    metrics.upstream_connections_are(name, load.in_use)
                metrics.holds_are_open(len(rooms.house.running))
                metrics.calls_wait(rooms.house.turnstile.waiting, rooms.house.turnstile.turned_away)
                metrics.publish()

        failed_logins, clock = rooms.administration.failed_logins, self._clock

        async def keep_records() -> None:
            await database.write(lambda connection: migrate.add_partitions(connection, clock.utc_now()))
            await retention.enforce(database, self._settings.retention_days, clock.utc_now())
            await alerts.prune()

        works = (
            warm(),
            pulse(),
            rooms.house.follower.run(),
            _every(HOUR_SECONDS, keep_records),
            _every(QUIET_SECONDS, lambda: failed_logins.flush(clock.now())),
            _every(self._settings.alert_seconds, alerts.round),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(GatewayError):
                await failed_logins.flush(clock.now(), every=True)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something now and then again and again; what the database refuses is done the next time."""
    while True:
        try:
            await work()
        except GatewayError as error:
            log.debug("put off: %s", error)
        except Exception:  # Whatever it was: a job that ended would be missed only when it is needed.
            log.exception("a job behind the calls failed and is tried again")
        await asyncio.sleep(seconds)


def load_prices(overrides: Mapping[str, Mapping[str, str]]) -> PriceTable:
    """Read the price table that is part of the package. Raises ValueError for an override that cannot be."""
    return PriceTable.from_json((resources.files("gateway") / "data" / "models.json").read_bytes(), overrides)
