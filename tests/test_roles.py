"""Whom each URL answers is what the table of URLs says: every row of docs/api.md, asked with every kind of key.

tests/test_docs.py holds that table against what is served, so a new URL has a row, and its row is tried here.
"""

import re
from pathlib import Path

from gateway.store import users
from gateway.store.engine import Connection
from tests.gateway import RunningGateway, bearer

ROWS = re.findall(
    r"^\| `(GET|POST|DELETE) ([^`]+)` \| ([^|]+) \|",
    (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
MEMBERS, READERS, OWNERS = frozenset({"member"}), frozenset({"reader", "owner"}), frozenset({"owner"})
EVERYBODY = MEMBERS | READERS | {"nobody", "stranger", "disabled"}
MAY = {
    "everybody": EVERYBODY,
    # The test asks from this machine.
    "this machine, or an admin key": EVERYBODY,
    "member": MEMBERS,
    "the key that made it": MEMBERS,
    "reader, member (own key)": MEMBERS | READERS,
    "reader": READERS,
    "owner": OWNERS,
}
NOBODY = frozenset({"nobody", "stranger", "disabled"})


async def test_every_url_answers_whom_the_table_says_and_nobody_else(gateway: RunningGateway) -> None:
    gateway.provider.answer(body=b'{"object":"list","data":[{"id":"nothing"}]}')
    keys = {
        "nobody": "", "stranger": "sk-gw-stranger", "disabled": await gateway.key(), "member": await gateway.key(),
        "owner": await gateway.admin_key(), "reader": await gateway.admin_key("reader"),
    }  # fmt: skip

    def disable(connection: Connection) -> None:
        users.update(connection, "user_1", disabled=True)

    await gateway.change(disable)
    assert len(ROWS) > 80
    for method, path, who in ROWS:
        url = re.sub(r"\{[^}]+\}", "nothing", path.replace("{version}", "v1beta"))
        for role, key in keys.items():
            answer = await gateway.http.request(method, url, headers=bearer(key) if key else {})
            if role in MAY[who]:
                assert answer.status_code not in (401, 403, 429), (method, path, role, answer.text)
            else:
                # A fast machine sends more wrong keys in a second than an address may.
                refused = (401, 429) if role in NOBODY else (403,)
                assert answer.status_code in refused, (method, path, role, answer.text)
