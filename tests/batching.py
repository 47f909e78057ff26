"""A provider that runs batches, for tests: files of lines, results as a test says, and what the ledger made of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI
from sqlalchemy import func, select

from gateway.store.engine import Connection
from gateway.store.jobs import job
from gateway.store.limits import counter
from tests.events import completion, usage
from tests.gateway import MODEL, RunningGateway
from tests.provider import Request, Step
from tests.shelf import Shelf, answered

CHAT: Any = "/v1/chat/completions"


def line(number: int, *, url: str = str(CHAT), **fields: Any) -> dict[str, Any]:
    """A line of an input file: a small chat, capped."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100, **fields}
    return {"custom_id": f"{number}", "method": "POST", "url": url, "body": body}


def result(number: int, prompt: int = 10, output: int = 5, **fields: Any) -> dict[str, Any]:
    """A line of an output file."""
    body = json.loads(completion(usage=usage(prompt, output), **fields))
    response = {"status_code": 200, "request_id": f"r{number}", "body": body}
    return {"id": f"b{number}", "custom_id": f"{number}", "response": response, "error": None}


def failure(number: int, status: int = 400) -> dict[str, Any]:
    """A line of an error file that the provider ran and refused."""
    response = {"status_code": status, "request_id": f"r{number}", "body": {"error": {"message": "no"}}}
    return {"id": f"b{number}", "custom_id": f"{number}", "response": response, "error": None}


def expired(number: int) -> dict[str, Any]:
    """A line of an error file that was never run."""
    return {"id": f"b{number}", "custom_id": f"{number}", "response": None, "error": {"code": "batch_expired"}}


def jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


@dataclass
class Works(Shelf):
    """A provider that keeps files and runs batches: each ends as a test says, with the results that it says."""

    ended: dict[str, Any] = field(default_factory=dict)

    def __call__(self, request: Request) -> list[Step]:
        match request.method, request.path.partition("?")[0].removeprefix("/v1").strip("/").split("/"):
            case "POST", ["batches"]:
                self.asked.append("POST /batches")
                fields = {**request.json(), "status": "validating"}
                self.things["/batches/batch_1"] = {"id": "batch_1", "object": "batch", "created_at": 1, **fields}
                return answered(self.things["/batches/batch_1"])
            case "POST", ["batches", _, "cancel"]:
                self.things["/batches/batch_1"]["status"] = "cancelling"
                return answered(self.things["/batches/batch_1"])
        return super().__call__(request)

    def end(
        self, results: Sequence[dict[str, Any]] = (), errors: Sequence[dict[str, Any]] = (), status: str = "completed"
    ) -> None:
        """Have the batch end."""
        named = {"output_file_id": results, "error_file_id": errors}
        files = {
            name: self.file(f"{name}.jsonl", "batch_output", jsonl(lines))["id"]
            for name, lines in named.items()
            if lines
        }
        self.things["/batches/batch_1"] |= {"status": status, **files}


async def uploaded(client: AsyncOpenAI, lines: Sequence[dict[str, Any]]) -> str:
    return (await client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")).id


async def begun(client: AsyncOpenAI, lines: Sequence[dict[str, Any]], endpoint: Any = CHAT) -> None:
    file = await uploaded(client, lines)
    made = await client.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h")
    assert (made.id, made.status) == ("batch_1", "validating")


async def counters(gateway: RunningGateway) -> dict[str, tuple[int, int]]:
    """What each limit's counter has used and held."""

    def read(connection: Connection) -> dict[str, tuple[int, int]]:
        return {row.limit_id: (row.used, row.held) for row in connection.execute(select(counter))}

    return await gateway.database.read(read)


async def charged(gateway: RunningGateway) -> Any:
    """The one row of the batch; every counter adds up and no job is left."""
    await gateway.audit()  # a commit that took too long is in the spool first
    [row] = [row for row in await gateway.usage() if row.batch]
    assert await count(gateway, job) == 0
    return row


async def count(gateway: RunningGateway, table: Any) -> int:
    return await gateway.database.read(
        lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one()
    )
