"""`gateway projects`: the teams."""

import argparse

from gateway.admin import projects
from gateway.admin.projects import ProjectObject
from gateway.cli.arguments import add_command, commands_of
from gateway.cli.asking import Office
from gateway.cli.office import run
from gateway.cli.printing import moment, print_done, print_list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    listing = add_command(commands, "list", "list projects", _list)
    listing.add_argument("--archived", action="store_true", help="archived ones too")
    create = add_command(commands, "create", "make a project", _create)
    create.add_argument("name", metavar="NAME")
    archive = add_command(commands, "archive", "end a project for good: its keys open nothing any more", _archive)
    archive.add_argument("project", metavar="PROJECT", help="id or name")


def _list(arguments: argparse.Namespace) -> int:
    query = {"include_archived": "true" if arguments.archived else None}
    found = run(arguments, lambda office: office.list_all(projects.list_projects, query=query))
    rows = [(project.id, project.name, project.status, moment(project.created_at)) for project in found]
    return print_list(arguments, ProjectObject, found, ("ID", "NAME", "STATUS", "CREATED"), rows)


def _create(arguments: argparse.Namespace) -> int:
    made = run(arguments, lambda office: office.ask(projects.create_project, body={"name": arguments.name}))
    return print_done(arguments, made, f"Created project {made.id} ({made.name}).")


def _archive(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> ProjectObject:
        project = await office.project(arguments.project)
        return await office.ask(projects.archive_project, {"project_id": project.id})

    ended = run(arguments, work)
    return print_done(arguments, ended, f"Archived project {ended.id} ({ended.name}); its keys open nothing any more.")
