"""A provider that keeps things: files, uploads, vector stores, conversations. It gives them to anybody who asks.

All callers share one account there, so what it keeps it does not keep apart: that is the gateway's business.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.events import JSON
from tests.provider import Request, Step, compose

Thing = dict[str, Any]
PREFIXES = {
    "files": ("file-", "file"),
    "uploads": ("upload_", "upload"),
    "parts": ("part_", "upload.part"),
    "vector_stores": ("vs_", "vector_store"),
    "file_batches": ("vsfb_", "vector_store.file_batch"),
    "conversations": ("conv_", "conversation"),
    "items": ("msg_", "message"),
}


@dataclass
class Shelf:
    """Everything by its path, as the last call left it; `contents` has the bytes of files by id."""

    things: dict[str, Thing] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    others: dict[str, Callable[[Request], list[Step]]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def __call__(self, request: Request) -> list[Step]:
        path = request.path.partition("?")[0].removeprefix("/v1")
        self.asked.append(f"{request.method} {path}")
        if f"{request.method} {path}" in self.others:
            return self.others[f"{request.method} {path}"](request)
        match request.method, path.strip("/").split("/"):
            case "POST", ["files"]:
                return answered(self.file(*_upload(request)))
            case "POST", ["uploads", upload, "complete"]:
                whole = {**self.things[f"/uploads/{upload}"], "status": "completed"}
                return answered(whole | {"file": self.file("whole.jsonl", "batch", b"")})
            case "POST", [*_, "cancel" | "search"]:
                return answered({"object": "list", "data": [], "status": "cancelled"})
            case "POST", [*_, kind] if kind in PREFIXES:
                return answered(self.make(path, kind, _fields(request)))
            case "GET", ["files", name, "content"]:
                return compose(200, {"content-type": "application/octet-stream"}, self.contents[name])
            case "GET", [*_, "files" | "items" | "content"]:
                listed = [thing for name, thing in self.things.items() if name.startswith(f"{path}/")]
                return answered({"object": "list", "data": listed, "has_more": False})
            case _ if path not in self.things:
                return compose(404, JSON, b'{"error":{"message":"gone"}}')
            case "DELETE", _:
                gone = self.things.pop(path)
                return answered({"id": gone["id"], "object": gone["object"] + ".deleted", "deleted": True})
        self.things[path] |= _fields(request)
        return answered(self.things[path])

    def make(self, path: str, kind: str, fields: Thing) -> Thing:
        """Keep a new thing of a kind below a path; one that is put into another keeps the name that it came with."""
        prefix, name = PREFIXES[kind]
        id = str(fields.get("file_id") or f"{prefix}{next(self._numbers)}")
        made = {"id": id, "object": name, "created_at": 1_700_000_000, "status": "completed", **fields}
        self.things[f"{path}/{id}"] = made
        return made

    def file(self, filename: str, purpose: str, content: bytes) -> Thing:
        """Keep a file."""
        made = self.make("/files", "files", {"filename": filename, "purpose": purpose, "bytes": len(content)})
        self.contents[made["id"]] = content
        return made


def answered(body: object) -> list[Step]:
    """A good answer."""
    return compose(200, JSON, json.dumps(body).encode())


def _fields(request: Request) -> Thing:
    return request.json() if request.body.startswith(b"{") else {}


def _upload(request: Request) -> tuple[str, str, bytes]:
    """Read the form of an upload: the file's name, its purpose, its content."""
    boundary = (request.header("content-type") or "").partition("boundary=")[2].strip('"').encode()
    fields: dict[str, tuple[str, bytes]] = {}
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = dict(re.findall(r'(name|filename)="([^"]*)"', head.decode()))
        fields[names["name"]] = names.get("filename", ""), content.removesuffix(b"\r\n")
    return fields["file"][0], fields["purpose"][1].decode(), fields["file"][1]
