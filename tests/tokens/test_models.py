"""A model's name, in all the ways it is written, decides how it is counted."""

import pytest

from gateway.tokens.encodings import EncodingName
from gateway.tokens.models import Family, rules_for

O200K, CL100K, P50K, R50K = EncodingName


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", O200K),
        ("gpt-4o-mini-2024-07-18", O200K),
        ("chatgpt-4o-latest", O200K),
        ("gpt-4.1-nano", O200K),
        ("gpt-4.5-preview", O200K),
        ("gpt-5.4-mini", O200K),
        ("o1", O200K),
        ("o3-mini", O200K),
        ("gpt-oss-120b", O200K),
        ("gpt-4", CL100K),
        ("GPT-4-0613", CL100K),
        ("gpt-4-turbo-preview", CL100K),
        ("gpt-3.5-turbo-16k", CL100K),
        ("gpt-35-turbo", CL100K),
        ("text-embedding-3-large", CL100K),
        ("text-embedding-ada-002", CL100K),
        ("davinci-002", CL100K),
        ("text-davinci-003", P50K),
        ("code-davinci-002", P50K),
        ("davinci", R50K),
        ("text-ada-001", R50K),
        ("gpt2", R50K),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", O200K),
        ("ft:gpt-3.5-turbo-0125:a/c:me:abc", CL100K),
        ("openai/gpt-4", CL100K),
        ("openai/ft:gpt-4-0613:acme::abc", CL100K),
        ("", O200K),
        ("ft:", O200K),
        ("our-deployment", O200K),
        ("claude-sonnet-4-5", O200K),
    ],
)
def test_model_name_gives_its_encoding(model: str, encoding: EncodingName) -> None:
    assert rules_for(model).encoding is encoding


@pytest.mark.parametrize(
    ("model", "percent"),
    [
        ("claude-3-5-sonnet-20241022", 120),
        ("claude-sonnet-4-20250514", 120),
        ("claude-sonnet-4-5", 120),
        ("claude-opus-4-5-20251101", 120),
        ("anthropic/claude-opus-4.7", 150),
        ("claude-opus-4-8", 150),
        ("claude-sonnet-5", 150),
        ("us.anthropic.claude-haiku-5-20270101-v1:0", 150),
        ("claude-next", 120),
        ("models/gemini-2.5-flash", 110),
    ],
)
def test_other_provider_model_has_the_factor_of_its_family(model: str, percent: int) -> None:
    rules = rules_for(model)
    assert (rules.family, rules.input_percent, rules.output_percent) == (Family.ESTIMATED, percent, percent)


def test_open_model_has_a_margin_for_the_hold_and_none_for_the_charge() -> None:
    rules = rules_for("meta-llama/Llama-3.3-70B-Instruct")
    assert (rules.input_percent, rules.output_percent) == (120, 100)
