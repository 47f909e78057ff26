"""Conversations as any client of OpenAI's could send them, drawn at random: valid, however odd."""

from typing import Any

from hypothesis import strategies as st

from tests.translate.asking import PIXEL, WEATHER, called, result

TEXTS = st.sampled_from(["Hello", "", " ", "wörld \U0001f600", "line\nline", '{"a":1}', '"quoted"', "\\u0041"])
CACHED = st.sampled_from(
    [{}, {"cache_control": {"type": "ephemeral"}}, {"prompt_cache_breakpoint": {"mode": "explicit"}}]
)
TEXT_PARTS = st.builds(lambda text, cached: {"type": "text", "text": text, **cached}, TEXTS, CACHED)
IMAGE_PARTS = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
    st.sampled_from([PIXEL, "data:image/jpeg;base64,/9j/", "https://example.com/a.webp?x=1"]),
    st.sampled_from([{}, {"detail": "auto"}, {"detail": "low"}]),
)
FILE_PARTS = st.sampled_from(
    [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "SGVsbG8=", "filename": "a.txt"}},
    ]
)
PARTS = st.lists(st.one_of(TEXT_PARTS, IMAGE_PARTS, FILE_PARTS), max_size=4)
IDS = st.text(st.sampled_from("ab.:-_ é"), max_size=6)
ARGUMENTS = st.sampled_from(["", "{}", ' {"place": "Rome", "n": 1.50} ', '{"deep":{"list":[null,true]}}'])

SYSTEM = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "developer"]),
    st.one_of(TEXTS, st.lists(TEXT_PARTS, max_size=3)),
)
USER = st.builds(
    lambda content, name: {"role": "user", "content": content, **name},
    st.one_of(TEXTS, PARTS),
    st.sampled_from([{}, {"name": "Ann"}]),
)
EXTRAS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"reasoning_content": "Hm."},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}], "reasoning_content": "Hm."},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "c2Vj"}]},
        {"extra_content": {"google": {"thought_signature": "c2ln"}}},
    ]
)
ASSISTANT = st.builds(
    lambda content, extras: {"role": "assistant", "content": content, **extras},
    st.one_of(st.none(), TEXTS, st.lists(TEXT_PARTS, max_size=2)),
    EXTRAS,
)


@st.composite
def tool_rounds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A call or several, their results in any order, and what the user throws in between."""
    ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    call = {**called(*ids, arguments=draw(ARGUMENTS)), **draw(EXTRAS), "content": draw(st.one_of(st.none(), TEXTS))}
    results = [
        result(id, draw(st.one_of(TEXTS, st.lists(TEXT_PARTS, max_size=2)))) for id in draw(st.permutations(ids))
    ]
    for between in draw(st.lists(st.one_of(USER, SYSTEM), max_size=2)):
        results.insert(draw(st.integers(0, len(results))), between)
    return [call, *results]


ROUNDS = st.lists(
    st.one_of(*(st.lists(one, min_size=1, max_size=1) for one in (SYSTEM, USER, ASSISTANT)), tool_rounds()), max_size=6
)
CONVERSATIONS = ROUNDS.map(lambda rounds: [message for messages in rounds for message in messages]).filter(
    lambda messages: any(
        isinstance(one["content"], str) and one["content"].strip()
        for one in messages
        if one["role"] in ("user", "system")
    )
)
"""Somebody says something in each."""

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.one_of(st.none(), st.just("END"), st.lists(st.sampled_from(["END", "\n\nHuman:"]), max_size=4)),
        "max_tokens": st.integers(1, 100_000),
        "max_completion_tokens": st.integers(1, 100_000),
        "seed": st.integers(-(2**40), 2**40),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "tools": st.sampled_from([[WEATHER], [WEATHER, {"type": "function", "function": {"name": "noop"}}]]),
        "tool_choice": st.sampled_from(
            [
                "none",
                "auto",
                "required",
                {"type": "function", "function": {"name": "get_weather"}},
                {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "get_weather"}}],
                    },
                },
            ]
        ),
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "response_format": st.sampled_from(
            [
                {"type": "text"},
                {"type": "json_object"},
                {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}},
            ]
        ),
        "user": st.sampled_from(["", "ann"]),
        "service_tier": st.sampled_from(["auto", "default", "flex"]),
        "stream": st.booleans(),
        "metadata": st.just({"a": "b"}),
    },
).map(lambda fields: fields if "tools" in fields else {name: fields[name] for name in fields if name != "tool_choice"})
