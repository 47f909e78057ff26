"""/v1/organization/limits: ours, in OpenAI's style. Cost is in decimal strings of USD, all else in integers."""

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import Id, ModelPatterns
from gateway.admin.lists import Deleted, ListOf, Paging, listed
from gateway.core.errors import InvalidRequest
from gateway.core.limits import MAX_AMOUNT, Interval, Limit, Metric, Scope
from gateway.core.money import parse_usd, render_usd
from gateway.store import limit_opening, limits, scopes, standings
from gateway.store.audit_log import EventType
from gateway.store.engine import Connection
from gateway.store.pages import Page
from gateway.store.standings import LimitStanding

LIMITS = "/v1/organization/limits"
LIMIT = f"{LIMITS}/{{limit_id}}"

_EVENTS: dict[Scope, EventType] = {
    Scope.ORGANIZATION: "organization.updated",
    Scope.PROJECT: "project.updated",
    Scope.USER: "user.updated",
    Scope.SERVICE_ACCOUNT: "service_account.updated",
    Scope.API_KEY: "api_key.updated",
}

Amount = int | str
"""A decimal string of USD for cost, an integer for every other metric."""


class LimitObject(msgspec.Struct, frozen=True):
    """`organization.limit`. `used`, `held` and `remaining` are of the present period, which ends at `resets_at`."""

    id: str
    scope: Scope
    scope_id: str
    metric: Metric
    interval: Interval | None
    amount: Amount
    models: tuple[str, ...] | None
    used: Amount
    held: Amount
    remaining: Amount
    resets_at: int | None
    object: str = "organization.limit"


class NewLimitTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a limit says, apart from whom it binds: so it comes with a new key too."""

    metric: Metric
    amount: Amount
    interval: Interval | None = None
    models: ModelPatterns | None = None

    def limit(self, id: str, scope: Scope, scope_id: str, param: str = "") -> Limit:
        """Return the limit. `param` says where in the body this stands. Raises InvalidRequest."""
        if (self.interval is None) != (self.metric is Metric.CONCURRENCY):
            words = "has no interval" if self.interval else f"needs an interval: {', '.join(Interval)}"
            raise InvalidRequest(f"A limit on {self.metric} {words}.", param=f"{param}interval", code="invalid_value")
        amount = read_amount(self.metric, self.amount, f"{param}amount")
        return Limit(id, scope, scope_id, self.metric, self.interval, amount, self.models)


class NewLimit(NewLimitTerms, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a limit is made of. The organization's needs no `scope_id`."""

    scope: Scope
    scope_id: Id | None = None


class LimitChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a limit."""

    amount: Amount


class ListLimits(Paging, frozen=True, forbid_unknown_fields=True):
    """The query of the list."""

    scope: Scope | None = None
    scope_id: Id | None = None


async def create_limit(request: AdminRequest[Nothing, NewLimit]) -> LimitObject:
    """Make a limit; it counts what was used in its period before."""
    new = request.body
    scope_id = new.scope_id or (limits.ORGANIZATION_ID if new.scope is Scope.ORGANIZATION else None)
    if scope_id is None:
        raise InvalidRequest(f"Send the id of the {new.scope}.", param="scope_id", code="missing_parameter")
    limit = new.limit(request.new_id("limit"), new.scope, scope_id)

    def work(connection: Connection) -> Changed[LimitStanding]:
        limit_opening.create(connection, limit, request.now)
        return _changed(connection, limit, request.now, before=None, after=limit)

    return show(await request.change(event_of(limit.scope), work))


async def list_limits(request: AdminRequest[ListLimits, Nothing]) -> ListOf[LimitObject]:
    """List limits with what is used and held."""
    query = request.query

    def work(connection: Connection) -> Page[LimitStanding]:
        found = limits.page(connection, query.cursor, scope=query.scope, scope_id=query.scope_id)
        return Page(tuple(standings.read(connection, found.items, request.now)), found.has_more)

    return listed(await request.read(work), show)


async def retrieve_limit(request: AdminRequest[Nothing, Nothing]) -> LimitObject:
    """Show a limit."""

    def work(connection: Connection) -> LimitStanding:
        limit = limits.get(connection, request.path["limit_id"])
        return standings.read(connection, [limit], request.now)[0]

    return show(await request.read(work))


async def update_limit(request: AdminRequest[Nothing, LimitChanges]) -> LimitObject:
    """Change the amount, for the next call on."""
    id = request.path["limit_id"]
    before = await request.read(lambda connection: limits.get(connection, id))
    amount = read_amount(before.metric, request.body.amount, "amount")

    def work(connection: Connection) -> Changed[LimitStanding]:
        present = limits.get(connection, id)
        scopes.require_unarchived(connection, present.scope, present.scope_id)
        after = limits.set_amount(connection, id, amount)
        return _changed(connection, after, request.now, before=present, after=after)

    return show(await request.change(event_of(before.scope), work))


async def delete_limit(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """Remove a limit."""
    id = request.path["limit_id"]
    scope = (await request.read(lambda connection: limits.get(connection, id))).scope

    def work(connection: Connection) -> Changed[None]:
        before = limits.delete(connection, id)
        scopes.require_unarchived(connection, before.scope, before.scope_id)
        return Changed(None, before.scope_id, {"limit": before}, project_id=_project_id(before))

    await request.change(event_of(scope), work)
    return Deleted("organization.limit.deleted", id)


def show(standing: LimitStanding) -> LimitObject:
    """Return what people see of a limit."""
    limit, resets_at = standing.limit, standing.resets_at
    amounts = [
        render_amount(limit.metric, amount)
        for amount in (limit.amount, standing.used, standing.held, standing.remaining)
    ]
    return LimitObject(
        limit.id, limit.scope, limit.scope_id, limit.metric, limit.interval, amounts[0], limit.models,
        amounts[1], amounts[2], amounts[3], resets_at,
    )  # fmt: skip


def read_amount(metric: Metric, amount: Amount, param: str) -> int:
    """Return an amount in the metric's unit. Raises InvalidRequest."""
    if metric is Metric.COST:
        try:
            return parse_usd(amount)  # type: ignore[arg-type]  # it refuses what is not a string, in words
        except ValueError as error:
            raise InvalidRequest(f"`{param}`: {error}.", param=param, code="invalid_value") from None
    if not isinstance(amount, int):
        raise InvalidRequest(f"`{param}`: {metric} are counted in integers.", param=param, code="invalid_value")
    if not 0 <= amount <= MAX_AMOUNT:
        raise InvalidRequest(f"`{param}` is not between 0 and {MAX_AMOUNT}.", param=param, code="invalid_value")
    return amount


def render_amount(metric: Metric, amount: int) -> Amount:
    """Return an amount as people see it."""
    return render_usd(amount) if metric is Metric.COST else amount


def event_of(scope: Scope) -> EventType:
    """Return OpenAI's audit type of a change to a limit: there is none for limits, so it is that of what they bind."""
    return _EVENTS[scope]


def _changed(
    connection: Connection, limit: Limit, now: int, *, before: Limit | None, after: Limit
) -> Changed[LimitStanding]:
    standing = standings.read(connection, [limit], now)[0]
    detail = {"limit": before} if before else None, {"limit": after} if after else None
    return Changed(standing, limit.scope_id, *detail, _project_id(limit))


def _project_id(limit: Limit) -> str | None:
    return limit.scope_id if limit.scope is Scope.PROJECT else None


ROUTES = (
    AdminRoute("POST", LIMITS, create_limit, Access.OWNER, Nothing, NewLimit),
    AdminRoute("GET", LIMITS, list_limits, Access.READER, ListLimits, Nothing),
    AdminRoute("GET", LIMIT, retrieve_limit, Access.READER, Nothing, Nothing),
    AdminRoute("POST", LIMIT, update_limit, Access.OWNER, Nothing, LimitChanges),
    AdminRoute("DELETE", LIMIT, delete_limit, Access.OWNER, Nothing, Nothing),
)
