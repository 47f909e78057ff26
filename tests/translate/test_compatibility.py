"""docs/compatibility.md says of every field and of every old path what the code does with it."""

import json
from pathlib import Path

from anthropic.types.beta.message_create_params import MessageCreateParamsBase

from gateway.core.old_paths import OLD_PATHS
from gateway.translate.anthropic_to_gemini.fates import FATES as TO_GEMINI
from gateway.translate.anthropic_to_openai.fates import FATES as TO_OPENAI
from gateway.translate.fates import Fate
from gateway.translate.openai_to_anthropic.fates import FATES as ANTHROPIC
from gateway.translate.openai_to_gemini.fates import FATES as GEMINI

PAGE = (Path(__file__).parent.parent.parent / "docs" / "compatibility.md").read_text(encoding="utf-8")


def cell(fate: Fate) -> str:
    """What a reader is told of a fate."""
    idle = f", but for {' and '.join(f'`{json.dumps(value)}`' for value in fate.idle)}" if fate.idle else ""
    match fate.word:
        case "carried":
            return fate.how
        case "dropped":
            return f"dropped{idle}" + (f": {fate.how}" if fate.how else "")
        case "refused":
            return f"400{idle}: {fate.how}"


def test_table_of_fields_is_the_translations_own() -> None:
    expected = [f"| `{name}` | {cell(ANTHROPIC[name])} | {cell(GEMINI[name])} |" for name in ANTHROPIC]
    section = PAGE[PAGE.index("| field | Claude | Gemini |") :].split("\n\n")[0]
    assert section.splitlines()[2:] == expected


def test_table_of_anthropics_fields_is_the_translations_own() -> None:
    assert set(TO_OPENAI) == set(TO_GEMINI)
    expected = [f"| `{name}` | {cell(TO_OPENAI[name])} | {cell(TO_GEMINI[name])} |" for name in TO_OPENAI]
    section = PAGE[PAGE.index("| field | OpenAI's format | Gemini |") :].split("\n\n")[0]
    assert section.splitlines()[2:] == expected


def test_field_of_the_sdk_has_its_fate() -> None:
    sent = set(MessageCreateParamsBase.__annotations__) - {"thread", "betas", "workspace_id"}
    assert sorted(sent - set(TO_OPENAI)) == []


def test_table_of_old_paths_is_the_routes_own() -> None:
    expected = [f"| `{path}` | {now} |" for path, now in OLD_PATHS.items()]
    section = PAGE[PAGE.index("| old path | use now |") :].split("\n\n")[0]
    assert section.splitlines()[2:] == expected
