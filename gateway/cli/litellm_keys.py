"""LiteLLM's teams, people and keys -> ours, in one transaction. Keys come by their SHA-256: clients keep their texts.

A team becomes a project, a person with an e-mail a user. A key of nobody with an e-mail becomes a service account's.
What is there already (a project of that name, a user with that e-mail, a key with that text) stays as it is.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.core.emails import EMAIL
from gateway.core.keys import NewKey
from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.core.money import MAX_NANO_USD, NANO_PER_USD
from gateway.store import (
    api_keys,
    audit_log,
    limit_opening,
    model_permissions,
    principals,
    projects,
    service_accounts,
    users,
)
from gateway.store.api_keys import NewApiKey
from gateway.store.audit_log import COMMAND_LINE, Detail, Event, EventType
from gateway.store.engine import Connection
from gateway.store.litellm import Books, Key, Person, Team, Terms
from gateway.store.model_permissions import ModelPermissions
from gateway.store.pages import Cursor

PROJECT = "LiteLLM"
"""Of keys without a team."""
PUBLIC_ID_CHARACTERS = 10
MOST = 2**31
MOST_USD = MAX_NANO_USD // NANO_PER_USD
_DURATION = re.compile(r"([0-9]{1,6})(mo|s|m|h|d|w)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400}
_INTERVALS = (
    (3_600, Interval.HOUR),
    (86_400, Interval.DAY),
    (7 * 86_400, Interval.WEEK),
    (31 * 86_400, Interval.MONTH),
)


@dataclass(slots=True)
class Brought:
    """What was brought over, and what a person should look after."""

    projects: int = 0
    users: int = 0
    service_accounts: int = 0
    keys: int = 0
    limits: int = 0
    notes: list[str] = field(default_factory=list)


class Mover:
    """Brings books over on a connection that is in a transaction. `new_id` makes an id from a noun."""

    def __init__(self, connection: Connection, books: Books, new_id: Callable[[str], str], now: int) -> None:
        self._connection = connection
        self._books = books
        self._new_id = new_id
        self._now = now
        self._known = principals.digests(connection)
        self._projects: dict[str | None, str] = {}
        self._users: dict[str, str] = {}
        self._blocked: set[str] = set()
        self.brought = Brought()

    def bring(self) -> Brought:
        """Bring everything over. Raises GatewayError, and then nothing of it may stay."""
        named = {project.name: project.id for project in projects.page(self._connection, Cursor(limit=MOST)).items}
        for team in self._books.teams:
            self._projects[team.id], is_new = self._project(named, team.name)
            if is_new:
                self._limit(team.terms, Scope.PROJECT, self._projects[team.id], f"team {team.name}")
                self._permit(self._projects[team.id], team)
                self._tell(team.unkept, f"team {team.name}")
            elif team.models is not None:
                self.brought.notes.append(
                    f"Project {team.name} was there: team {team.name} may call some models only, look after that."
                )
            if team.blocked:
                self._blocked.add(team.id)
                self.brought.notes.append(f"Team {team.name} is blocked: its keys come disabled.")
        for person in self._books.people:
            if person.email and re.match(EMAIL, person.email):
                self._user(person, person.email)
            elif person.email or person.terms.binds:
                lost = " Its budget and rates do not come." if person.terms.binds else ""
                self.brought.notes.append(
                    f"User {person.id} has no e-mail address, its keys belong to service accounts.{lost}"
                )
        for key in self._books.keys:
            if key.digest not in self._known:
                self._key(key, named)
        return self.brought

    def _project(self, named: dict[str, str], name: str) -> tuple[str, bool]:
        if name in named:
            return named[name], False
        made = projects.create(self._connection, self._new_id("project"), name[:200], self._now)
        named[name] = made.id
        self.brought.projects += 1
        self._audit("project.created", made.id, made, made.id)
        return made.id, True

    def _permit(self, project_id: str, team: Team) -> None:
        if team.models is None:
            return
        permitted = ModelPermissions("allow_list", team.models)
        model_permissions.put(self._connection, project_id, permitted)
        self._audit("project.updated", project_id, {"model_permissions": permitted}, project_id)

    def _user(self, person: Person, email: str) -> None:
        there = users.page(self._connection, Cursor(limit=1), emails=[email]).items
        if there:
            self._users[person.id] = there[0].id
            return
        made = users.create(self._connection, self._new_id("user"), email, email, "reader", self._now)
        self._users[person.id] = made.id
        self.brought.users += 1
        self._audit("user.added", made.id, made, None)
        self._limit(person.terms, Scope.USER, made.id, f"user {email}")
        self._tell(person.unkept, f"user {email}")

    def _key(self, key: Key, named: dict[str, str]) -> None:
        project_id = self._projects.get(key.team_id) or self._project(named, PROJECT)[0]
        user_id = self._users.get(key.user_id or "")
        account_id = None if user_id else self._service_account(project_id, key.name)
        id, public_id = self._new_id("api_key"), key.digest.hex()[:PUBLIC_ID_CHARACTERS]
        new = NewApiKey(id, project_id, key.name[:200], user_id, account_id, key.models or None, key.expires_at)
        made = api_keys.create(self._connection, new, NewKey("", public_id, key.digest, key.last_four), self._now)
        if key.models == ():
            self.brought.notes.append(f"Key {key.name} may call no model: it comes disabled.")
        if key.blocked or key.models == () or key.team_id in self._blocked:
            api_keys.set_disabled(self._connection, id)
        self.brought.keys += 1
        self._audit("api_key.created", id, made, project_id)
        self._limit(key.terms, Scope.API_KEY, id, f"key {key.name}")
        self._tell(key.unkept, f"key {key.name}")

    def _service_account(self, project_id: str, name: str) -> str:
        id = self._new_id("service_account")
        made = service_accounts.create(self._connection, id, project_id, name[:200], "member", self._now)
        self.brought.service_accounts += 1
        self._audit("service_account.created", id, made, project_id)
        return id

    def _limit(self, terms: Terms, scope: Scope, scope_id: str, whose: str) -> None:
        rates = (
            (Metric.REQUESTS, Interval.MINUTE, terms.requests_per_minute),
            (Metric.TOKENS, Interval.MINUTE, terms.tokens_per_minute),
            (Metric.CONCURRENCY, None, terms.parallel_requests),
        )
        budget = None if terms.max_budget is None else self._budget(terms, terms.max_budget, whose)
        for metric, interval, amount in (*rates, *([budget] if budget else ())):
            if amount is not None:
                limit = Limit(self._new_id("limit"), scope, scope_id, metric, interval, max(amount, 0))
                limit_opening.create(self._connection, limit, self._now)
                self.brought.limits += 1

    def _tell(self, unkept: Sequence[str], whose: str) -> None:
        if unkept:
            self.brought.notes.append(f"Of {whose} these do not come: {', '.join(unkept)}. Look after that.")

    def _budget(self, terms: Terms, budget: Decimal, whose: str) -> tuple[Metric, Interval, int] | None:
        """Return the cost limit: a budget for ever less what is spent, one of a period whole, for it begins anew.

        None for one that nobody can use up.
        """
        interval, is_exact = interval_of(terms.duration)
        if not (budget.is_finite() and budget < MOST_USD):
            self.brought.notes.append(f"The budget of {whose} is more than can be counted: it has none here.")
            return None
        if interval is Interval.LIFETIME:
            budget -= terms.spend
        if not is_exact:
            self.brought.notes.append(f"The budget of {whose} lasts {terms.duration}; here it is one per {interval}.")
        return Metric.COST, interval, int(budget * NANO_PER_USD)

    def _audit(self, type: EventType, id: str, after: object, project_id: str | None) -> None:
        event_id = audit_log.new_id(self._now, self._new_id("")[-10:])
        event = Event(event_id, self._now, type, project_id, COMMAND_LINE, None, Detail(id, after=after))
        audit_log.append(self._connection, event)


def interval_of(duration: str | None) -> tuple[Interval, bool]:
    """Return the interval of a budget's duration, and whether it is just as long. If not it is longer: stricter."""
    if duration is None:
        return Interval.LIFETIME, True
    found = _DURATION.fullmatch(duration)
    if found is None:
        return Interval.LIFETIME, False
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]]
    for longest, interval in _INTERVALS:
        if seconds <= longest:
            return interval, seconds == longest or (interval is Interval.MONTH and seconds >= 28 * 86_400)
    return Interval.LIFETIME, False
