"""`gateway keys import people.csv`: a key for each line of a list of e-mails, their texts in a file for us alone.

The whole list is read before anything is made, so a mistake in it makes nothing. Each key is in the file before the
next one is made: whatever happens, no text of a key that works is lost.
"""

import argparse
import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from msgspec.json import encode

from gateway.admin import api_keys, users
from gateway.admin.decoding import decode_body
from gateway.cli.arguments import limit_terms, patterns, seconds
from gateway.cli.asking import Office, present
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import run
from gateway.core.csv_lines import csv_lines
from gateway.core.emails import EMAIL
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.limits import Scope

COLUMNS = ("email", "name", "project", "models", "limits")
"""Those of the list; only the first is needed. Several models or limits in a cell are parted by spaces."""
_HEADER = ("email", "name", "project", "api_key_id", "key")
_EMAIL = re.compile(EMAIL)


@dataclass(frozen=True, slots=True)
class Line:
    """One key to make. `name` is the person's."""

    email: str
    name: str
    project: str
    models: Sequence[str] | None
    limits: Sequence[dict[str, object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("list", type=Path, metavar="PEOPLE_CSV", help=f"with a header: {', '.join(COLUMNS)}")
    parser.add_argument("--project", metavar="PROJECT", help="id or name, for lines that name none")
    parser.add_argument("--output", type=Path, metavar="FILE", help="new file of mode 600; default: PEOPLE.keys.csv")
    parser.add_argument("--models", type=patterns, metavar="PATTERNS", help="for lines that name none")
    parser.add_argument(
        "--limit", type=limit_terms, action="append", default=[], metavar="METRIC:INTERVAL:AMOUNT",
        help="on each key, for lines that name none; may be repeated",
    )  # fmt: skip
    parser.add_argument("--expires-in", type=seconds, metavar="TIME", help="such as 90d; default: never")
    parser.add_argument("--url", metavar="URL", help="of a gateway, with the admin key in GATEWAY_ADMIN_KEY")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    found = _read(arguments)
    path: Path = arguments.output or arguments.list.with_suffix(".keys.csv")

    async def work(office: Office) -> None:
        projects = {line.project: (await office.project(line.project)).id for line in found}
        with new_file(path) as file:
            file.write(csv_lines([_HEADER]))
            for made, line in enumerate(found):
                try:
                    key = await _make(office, line, projects[line.project], arguments.expires_in)
                except GatewayError as error:
                    raise CommandError(
                        f"{line.email}: {error} The {made} keys before it are made, in {path}."
                    ) from error
                _keep(file, (line.email, line.name, line.project, key.id, key.value))

    run(arguments, work)
    print(f"Made {len(found)} keys. Their texts are in {path}, for you alone: hand them out and delete it.")
    return Exit.DONE


async def _make(office: Office, line: Line, project_id: str, expires_in: int | None) -> api_keys.CreatedApiKey:
    there = (await office.ask(users.list_users, query={"emails": [line.email]})).data
    user = there[0] if there else await office.ask(users.create_user, body={"email": line.email, "name": line.name})
    body = _key(line, user.id, expires_in)
    return await office.ask(api_keys.create_api_key, {"project_id": project_id}, body=body)


def _key(line: Line, user_id: str, expires_in: int | None) -> dict[str, object]:
    return present({
        "name": line.name,
        "user_id": user_id,
        "models": line.models,
        "limits": line.limits,
        "expires_in_seconds": expires_in,
    })  # fmt: skip


def _check(line: Line, expires_in: int | None) -> None:
    """Raises InvalidRequest for what administration would refuse later, when others are made already."""
    decode_body(encode({"email": line.email, "name": line.name}), users.NewUser)
    key = decode_body(encode(_key(line, "user_unknown", expires_in)), api_keys.NewApiKey)
    for place, terms in enumerate(key.limits):
        terms.limit("", Scope.API_KEY, "", f"limits[{place}].")


def _read(arguments: argparse.Namespace) -> list[Line]:
    """Read the list as spreadsheets write it, with commas or semicolons. Raises CommandError for the first mistake."""
    try:
        text = arguments.list.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{arguments.list} cannot be read: {error}.", Exit.WRONG_USAGE) from error
    header = text.partition("\n")[0]
    table = csv.DictReader(text.splitlines(), delimiter=";" if ";" in header and "," not in header else ",")
    names = [name.strip().lower() for name in table.fieldnames or ()]
    if "email" not in names or not set(names) <= set(COLUMNS):
        raise CommandError(
            f"{arguments.list}: the first line must name the columns: email and, if you like, "
            f"{', '.join(COLUMNS[1:])}.",
            Exit.WRONG_USAGE,
        )
    table.fieldnames = names
    found: list[Line] = []
    for row in table:
        try:
            found.append(_line(row, arguments))
        except (argparse.ArgumentTypeError, ValueError, InvalidRequest) as error:
            mistake = str(error).removesuffix(".")
            raise CommandError(f"{arguments.list}, line {table.line_num}: {mistake}.", Exit.WRONG_USAGE) from error
    if not found:
        raise CommandError(f"{arguments.list} names nobody.", Exit.WRONG_USAGE)
    return found


def _line(row: dict[str, str | None], arguments: argparse.Namespace) -> Line:
    if None in row or None in row.values():
        raise ValueError("it has more or fewer cells than the first line")
    cells = {name: (value or "").strip() for name, value in row.items()}
    project = cells.get("project") or arguments.project
    if not _EMAIL.match(cells["email"]):
        raise ValueError(f"`{cells['email']}` is not an e-mail address")
    if not project:
        raise ValueError("no project; name one in its column, or for all lines with --project")
    models, limits = cells.get("models", "").split(), cells.get("limits", "").split()
    line = Line(
        cells["email"],
        cells.get("name") or cells["email"],
        project,
        models or arguments.models,
        [limit_terms(text) for text in limits] or arguments.limit,
    )
    _check(line, arguments.expires_in)
    return line


def new_file(path: Path) -> TextIO:
    """Open a file that was not there, for our eyes only. Raises CommandError."""
    try:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="")
    except FileExistsError as error:
        raise CommandError(f"{path} is there already. Move it away, or choose another with --output.") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error


def _keep(file: TextIO, row: Sequence[object]) -> None:
    file.write(csv_lines([row]))
    file.flush()
    os.fsync(file.fileno())
