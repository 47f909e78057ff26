"""What is installed is what was locked: every package by hash, from anywhere, within pyproject's bounds."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.txt", "requirements-build.txt", "requirements-dev.txt")
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Canonical name -> the one version that the lock allows."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(text)}


def declared(*path: str) -> list[Requirement]:
    """The requirements that pyproject.toml lists at a path of keys."""
    value = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for key in path[:-1]:
        value = value[key]
    return [Requirement(line) for line in value[path[-1]]]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_host(lock: str) -> None:
    assert not re.search(r"://|^\s*-(?:i|f|-)", re.sub(r"--hash=", "", (ROOT / lock).read_text()), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_entry_has_a_hash(lock: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text(encoding="utf-8"))
    assert [entry.split()[0] for entry in entries[1:] if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    ("lock", "path"),
    [
        ("requirements.txt", ("project", "dependencies")),
        ("requirements-build.txt", ("build-system", "requires")),
        ("requirements-dev.txt", ("project", "optional-dependencies", "dev")),
    ],
)
def test_lock_holds_what_pyproject_asks(lock: str, path: tuple[str, ...]) -> None:
    locked = pins(lock)
    wrong = [
        str(requirement)
        for requirement in declared(*path)
        if not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"))
    ]
    assert wrong == []


def test_locks_agree_on_every_version() -> None:
    developer = pins("requirements-dev.txt")
    for lock in LOCKS[:2]:
        assert {name: version for name, version in pins(lock).items() if developer.get(name, version) != version} == {}
