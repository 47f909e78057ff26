"""Erasing a person: no cell of the database tells who it was, and no amount changes."""

from msgspec.structs import replace
from sqlalchemy import Connection, select

from gateway.core.limits import Interval, Metric, Scope
from gateway.core.notices import Notice
from gateway.ledger.entries import Caller, Figures
from gateway.store import notices, reports
from gateway.store.metadata import metadata
from gateway.store.reports import Dimension, Line, Query, Width
from tests.admin.conftest import Administration
from tests.team import NOW, call, settle

DAY = 86_400
ANN = {"email": "Ann.Lovelace@Example.com", "name": "Ann Lovelace"}
BOB = {"email": "bob@example.com", "name": "Bob"}
TRACES = ("lovelace", "ann's laptop", "192.0.2.7")


def cells(connection: Connection) -> list[str]:
    """Every text in the database, in lower case."""
    return [
        str(value).lower()
        for table in metadata.sorted_tables
        for row in connection.execute(select(table))
        for value in row
        if isinstance(value, str)
    ]


def used(connection: Connection) -> list[Line]:
    by_user = frozenset((Dimension.USER_ID,))
    return reports.lines(connection, Query(Width.DAY, NOW - NOW % DAY - DAY, NOW + DAY, by_user))


async def person(administration: Administration, project: str, who: dict[str, str]) -> tuple[str, str]:
    """Make a person with a key; return the ids of both."""
    user = await administration.made("/users", who)
    await administration.post(f"/projects/{project}/users", {"user_id": user, "role": "member"})
    key = await administration.made(
        f"/projects/{project}/api_keys", {"name": f"{who['name'].split()[0]}'s laptop", "user_id": user}
    )
    await administration.post(f"/projects/{project}/api_keys/{key}", {"disabled": True})
    await administration.post(f"/users/{user}", {"name": f"{who['name']} II"})
    return user, key


async def test_erased_person_is_nowhere_and_their_amounts_stay(
    administration: Administration, database_url: str
) -> None:
    database = administration.database
    project = await administration.made("/projects", {"name": "Search"})
    (ann, ann_key), (bob, bob_key) = [await person(administration, project, who) for who in (ANN, BOB)]
    one = call("req_1", NOW, Figures(1, 1, 100, cost_nano_usd=7))
    await settle(
        database_url,
        [
            replace(one, caller=Caller(ann_key, project, ann, None)),
            replace(one, request_id="req_2", caller=Caller(bob_key, project, bob, None)),
        ],
    )
    before = await database.read(used)
    assert any("lovelace" in cell for cell in await database.read(cells))
    answer = await administration.post(f"/users/{ann}/erase", {})
    assert answer.json() == {"id": ann, "erased": True, "object": "organization.user.erased"}
    left = await database.read(cells)
    assert [cell for cell in left if any(trace in cell for trace in TRACES)] == []
    assert any("bob" in cell for cell in left)
    assert await database.read(used) == before
    assert {line.group.user_id for line in before} == {ann, bob}
    events = (await administration.http.get(f"/v1/organization/audit_logs?resource_ids[]={ann}")).json()["data"]
    types = sorted(event["type"] for event in events)
    assert types == ["user.added", "user.added", "user.deleted", "user.updated"]


async def test_erased_person_is_gone_like_a_deleted_one(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    user, key = await person(administration, project, ANN)
    await administration.post(f"/users/{user}/erase", {})
    assert (await administration.http.get(f"/v1/organization/users/{user}")).status_code == 404
    assert (await administration.http.get(f"/v1/organization/projects/{project}/api_keys/{key}")).status_code == 404
    assert (await administration.post("/users", ANN)).status_code == 200


async def test_person_who_was_deleted_before_can_be_erased_and_twice_is_once(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    user, _ = await person(administration, project, ANN)
    await administration.owner.admin.organization.users.delete(user)
    assert any("lovelace" in cell for cell in await administration.database.read(cells))
    for _ in range(2):
        assert (await administration.post(f"/users/{user}/erase", {})).status_code == 200
    left = await administration.database.read(cells)
    assert [cell for cell in left if any(trace in cell for trace in TRACES)] == []


async def test_erased_person_is_mailed_no_alert_any_more(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    user, _ = await person(administration, project, ANN)
    terms = {"threshold_amount": 5, "currency": "USD", "interval": "month"}

    async def alert(*recipients: str) -> str:
        channel = {"type": "email", "recipients": recipients}
        return await administration.made("/spend_alerts", {**terms, "notification_channel": channel})

    await alert(ANN["email"])
    shared = await alert(ANN["email"].upper(), BOB["email"])
    told = Notice(
        "budget", "lim_1", Scope.USER, user, Metric.COST, Interval.DAY, 5, 1, 1, 1, name=ANN["name"], percent=80,
        recipients=(ANN["email"], BOB["email"]),
    )  # fmt: skip
    database = administration.database
    await database.write(lambda connection: notices.add(connection, told, "email", 1))
    await administration.owner.admin.organization.users.delete(user)
    await administration.post(f"/users/{user}/erase", {})
    assert [cell for cell in await database.read(cells) if "lovelace" in cell] == []
    alerts = administration.owner.admin.organization.spend_alerts
    assert [(one.id, one.notification_channel.recipients) async for one in alerts.list()] == [(shared, [BOB["email"]])]
    (pending,) = await database.read(lambda connection: notices.due(connection, ["email"], 9, 9))
    assert (pending.notice.recipients, pending.notice.name) == ((BOB["email"],), "[erased]")


async def test_nobody_is_erased_who_is_not_there(administration: Administration) -> None:
    answer = await administration.post("/users/user_none/erase", {})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "user_id")
    assert await administration.database.read(lambda connection: connection.execute(
        select(metadata.tables["audit_log"])).all()) == []  # fmt: skip
