"""Every parameter of OpenAI's chat completions has a fate at each provider, and the translation obeys it."""

import typing
from typing import Any

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsBase,
    CompletionCreateParamsNonStreaming,
)

from gateway.core.errors import InvalidRequest
from gateway.translate.fates import MOST_DROPPED, Fates
from gateway.translate.openai_to_anthropic.fates import FATES as ANTHROPIC
from gateway.translate.openai_to_anthropic.request import asked_of_claude
from gateway.translate.openai_to_gemini.fates import FATES as GEMINI
from gateway.translate.openai_to_gemini.request import asked_of_gemini
from tests.translate.asking import THINKER, WEATHER, chat

PAIRS = [
    pytest.param(ANTHROPIC, asked_of_claude, "claude-sonnet-4-6", id="anthropic"),
    pytest.param(GEMINI, asked_of_gemini, "gemini-3-flash", id="gemini"),
]
ASKED: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 100,
    "max_tokens": 100,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "u",
    "seed": 5,
    "service_tier": "flex",
    "stop": ["END"],
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "tool_choice": "auto",
    "tools": [WEATHER],
    "top_logprobs": 3,
    "top_p": 0.5,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {},
}
"""Each parameter of OpenAI's with a value that asks for something."""


@pytest.mark.parametrize("fates", [ANTHROPIC, GEMINI], ids=["anthropic", "gemini"])
def test_fate_is_decided_for_every_parameter_that_openai_has(fates: Fates) -> None:
    parameters = {*CompletionCreateParamsBase.__annotations__, *CompletionCreateParamsNonStreaming.__annotations__}
    assert parameters - fates.keys() == set()
    assert parameters - {"messages", "model"} == ASKED.keys()


def test_fate_is_decided_for_the_same_fields_everywhere() -> None:
    assert ANTHROPIC.keys() == GEMINI.keys()


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(("fates", "translate", "model"), PAIRS)
def test_parameter_meets_its_fate(fates: Fates, translate: Any, model: str, name: str) -> None:
    call = chat(**{name: ASKED[name]})
    match fates[name].word:
        case "refused":
            with pytest.raises(InvalidRequest) as caught:
                translate(call, model, THINKER)
            assert caught.value.param == name and fates[name].how in caught.value.message
        case "dropped":
            assert translate(call, model, THINKER)[1] == (name,)
        case "carried":
            expected = ("service_tier",) if name == "service_tier" else ()
            assert translate(call, model, THINKER)[1] == expected


@pytest.mark.parametrize(("fates", "translate", "model"), PAIRS)
def test_value_that_asks_for_nothing_is_passed_over(fates: Fates, translate: Any, model: str) -> None:
    idle = {name: fate.idle[0] for name, fate in fates.items() if fate.idle and "." not in name}
    nothing = dict.fromkeys(fates.keys() & ASKED.keys() - idle.keys(), None)
    assert translate(chat(**(nothing | idle)), model, THINKER)[1] == ()


@pytest.mark.parametrize(("fates", "translate", "model"), PAIRS)
def test_field_that_nobody_knows_is_dropped_and_told_if_a_header_can_tell_it(
    fates: Fates, translate: Any, model: str
) -> None:
    del fates
    strange = {"top_k": 5, "x\r\ny": 1, "ä": 1, "a,b": 1, "": 1}
    assert translate(chat(**strange), model, THINKER)[1] == ("top_k",)
    many = {f"field{number}": 1 for number in range(1_000)}
    assert len(translate(chat(**many), model, THINKER)[1]) == MOST_DROPPED


def test_words_of_fates_are_those_that_are_told_apart() -> None:
    words = typing.get_args(typing.get_type_hints(type(ANTHROPIC["model"]))["word"])
    assert {fate.word for fates in (ANTHROPIC, GEMINI) for fate in fates.values()} == set(words)
