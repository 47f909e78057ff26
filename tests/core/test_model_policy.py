"""A project's policy: what an allow list and a deny list keep out, by whichever name."""

import pytest

from gateway.core.model_policy import Mode, policy_of


@pytest.mark.parametrize(
    ("mode", "models", "permitted", "refused"),
    [
        ("allow_list", (), (), ("gpt-4o",)),
        ("allow_list", ("gpt-4o", "o*"), ("gpt-4o", "o1", "o3-mini"), ("gpt-4o-mini", "GPT-4o", "")),
        ("deny_list", ("gpt-4o", "o*"), ("gpt-4o-mini", "gpt-4"), ("gpt-4o", "GPT-4O", "o1", "O3-mini")),
        ("deny_list", ("GPT-4o",), ("gpt-4",), ("gpt-4o",)),
        ("deny_list", ("*",), (), ("gpt-4o", "")),
    ],
)
def test_policy_permits_what_its_list_says(
    mode: Mode, models: tuple[str, ...], permitted: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    policy = policy_of(mode, models)
    assert policy is not None
    assert [name for name in (*permitted, *refused) if policy.permits(name)] == list(permitted)


def test_empty_deny_list_is_no_policy() -> None:
    assert policy_of("deny_list", ()) is None


def test_alias_is_allowed_by_either_name_and_denied_by_either() -> None:
    for name in ("fast", "gpt-4o-mini"):
        allowed, denied = policy_of("allow_list", [name]), policy_of("deny_list", [name])
        assert allowed is not None and denied is not None
        assert allowed.permits("fast", "gpt-4o-mini")
        assert not denied.permits("fast", "gpt-4o-mini")
