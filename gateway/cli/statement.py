"""A month's statement: what each project and each person in it used, from the rollups, exact to the nano-USD."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.admin import projects, service_accounts, users
from gateway.admin.usage_results import TotalResult
from gateway.cli.asking import Office
from gateway.cli.tallies import Day, Figures, Share, Tally, buckets, date_of, tally, total

HOLDER = ("project_id", "user_id", "service_account_id")


@dataclass(frozen=True, slots=True)
class Holder:
    """A person or a program. `name` is the e-mail of a person; who was deleted goes by the id."""

    type: Literal["user", "service_account"]
    id: str
    name: str
    usage: Figures


@dataclass(frozen=True, slots=True)
class Project:
    """What one project used: by day, by holder and by model, the dearest first."""

    id: str
    name: str
    usage: Figures
    days: list[Day]
    holders: list[Holder]
    models: list[Share]


@dataclass(frozen=True, slots=True)
class Statement:
    """A month as YYYY-MM; both dates are inclusive. `holders` are those of all projects together."""

    month: str
    start_date: str
    end_date: str
    usage: Figures
    days: list[Day]
    projects: list[Project]
    holders: list[Holder]


Key = tuple[str, ...]
Sums = dict[Key, Tally]
Names = Mapping[str, str]


async def make_statement(office: Office, month: datetime, project_id: str | None) -> Statement:
    """Read a month that begins at this moment, of all projects or of one. Raises GatewayError."""
    after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    start, end = int(month.timestamp()), int(after.timestamp())

    async def sums(group_by: Sequence[str], key: Callable[[int, TotalResult], Key]) -> Sums:
        found: Sums = {}
        query = {"group_by": group_by, "project_ids": project_id}
        async for bucket in buckets(office, start, end, query):
            for result in bucket.results:
                name = key(bucket.start_time, result)
                found[name] = found.get(name, Tally()) + tally(result)
        return found

    by_day = await sums(["project_id"], lambda day, one: (one.project_id or "", date_of(day)))
    by_holder = await sums(HOLDER, lambda _, one: (one.project_id or "", *_holder(one)))
    by_model = await sums(["project_id", "model"], lambda _, one: (one.project_id or "", one.model or ""))
    names = await _names(office, {key[0] for key in by_day})
    dates = [date_of(day) for day in range(start, end, 86_400)]
    found = [
        _project(id, names, dates, _below(id, by_day), _below(id, by_holder), _below(id, by_model))
        for (id,) in _dearest(_totals(by_day, 0))
    ]
    days, holders = _totals(by_day, 1), _totals(by_holder, 1, 2)
    return Statement(
        f"{month:%Y-%m}", dates[0], dates[-1], total(by_day.values()).figures,
        [Day(date, days.get((date,), Tally()).figures) for date in dates],
        found,
        [_shown_holder(key, used, names) for key, used in _dearest(holders).items()],
    )  # fmt: skip


def _project(id: str, names: Names, dates: Sequence[str], days: Sums, holders: Sums, models: Sums) -> Project:
    return Project(
        id,
        names.get(id, id),
        total(days.values()).figures,
        [Day(date, days.get((date,), Tally()).figures) for date in dates],
        [_shown_holder(key, used, names) for key, used in _dearest(holders).items()],
        [Share(model, used.figures) for (model,), used in _dearest(models).items()],
    )


def _shown_holder(key: Key, used: Tally, names: Names) -> Holder:
    type, id = key
    return Holder("user" if type == "user" else "service_account", id, names.get(id, id), used.figures)


def _holder(result: TotalResult) -> Key:
    if result.user_id is not None:
        return "user", result.user_id
    return "service_account", result.service_account_id or ""


def _below(project_id: str, sums: Sums) -> Sums:
    return {key[1:]: used for key, used in sums.items() if key[0] == project_id}


def _totals(sums: Sums, *places: int) -> Sums:
    """Add up what has the same parts of its key at these places."""
    found: Sums = {}
    for key, used in sums.items():
        part = tuple(key[place] for place in places)
        found[part] = found.get(part, Tally()) + used
    return found


def _dearest(sums: Sums) -> Sums:
    """Order by cost, then by tokens, then by name."""
    return dict(sorted(sums.items(), key=lambda item: (-item[1].cost_nano_usd, -item[1].tokens, item[0])))


async def _names(office: Office, project_ids: set[str]) -> Names:
    """Return what people call projects, users and service accounts that are still there."""
    teams = await office.list_all(projects.list_projects, query={"include_archived": "true"})
    people = await office.list_all(users.list_users)
    programs = [
        account
        for id in sorted(project_ids)
        for account in await office.list_all(service_accounts.list_service_accounts, {"project_id": id})
    ]
    return {
        **{project.id: project.name for project in teams},
        **{user.id: user.email for user in people},
        **{account.id: account.name for account in programs},
    }
