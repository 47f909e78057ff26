"""Anthropic's usage figures: whole blocks, blocks that correct an earlier one, and answers of several passes.

`input_tokens` leaves out what was read from the cache and written to it, so the three together are our input.
"""

import msgspec

from gateway.core.usage import UNTOLD, OtherModel, Usage, added, checked_usage
from gateway.dialects.lenient import ALL_READ, Unread

MOST_TOKENS = 2**31
"""A thousand times the largest context window there is."""
NOTHING_USED = Usage()
_ANYWHERE = frozenset({None, "", "global", "not_available"})
"""Where a model runs that nobody has chosen; those before 4.6 cannot be."""
_CHOSEN_PERCENT = 10
"""What all tokens cost more where inference is kept in one country (https://platform.claude.com, data residency)."""
_INPUTS = frozenset({"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "iterations"})
_OUTPUTS = frozenset({"output_tokens", "iterations"})
"""Each tells a part, so that nothing else tells what one says that cannot be read."""
_OTHERS_KINDS = frozenset({"advisor_message", "fallback_message"})
"""Passes that a model of their own made, at its own price."""


def surcharge_percent(inference_geo: str | None) -> int:
    """Return by how many percent each token costs more for where the model runs, or is asked to."""
    return 0 if inference_geo in _ANYWHERE else _CHOSEN_PERCENT


class CacheCreation(msgspec.Struct, gc=False):
    """What was written to the cache, by how long it stays there."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output."""

    thinking_tokens: int | None = None


class ServerToolUse(msgspec.Struct, gc=False):
    """Requests of the provider's own tools; only searches have a price of their own."""

    web_search_requests: int | None = None


class Pass(msgspec.Struct, gc=False):
    """One pass of several that the provider made for an answer: a turn of its tools, a compaction, an adviser."""

    type: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: int | None = None

    @property
    def others_model(self) -> str | None:
        """The model that made the pass where it is not the one that was called."""
        return self.model if self.type in _OTHERS_KINDS else None

    @property
    def says_something(self) -> bool:
        """True with any figure at all: an empty block says nothing, and what it leaves out was not free."""
        return any(count is not None for count in self._counts)

    @property
    def can_be(self) -> bool:
        """False for figures that no model could reach: a fault of the provider's, and then our own count stands."""
        return all(count is None or 0 <= count <= MOST_TOKENS for count in self._counts)

    @property
    def _counts(self) -> tuple[int | None, ...]:
        return self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens, self.output_tokens


class UsageBlock(Pass, gc=False):
    """`usage` of a message, or of `message_delta`, which leaves out what it does not correct."""

    output_tokens_details: OutputDetails | None = None
    server_tool_use: ServerToolUse | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: list[Pass] | None = None

    def usage(self, unread: Unread = ALL_READ) -> Usage | None:
        """Map a whole block; None for one that says nothing or cannot be."""
        used = _usage(self, NOTHING_USED, unread)
        if used is None or self.iterations or not (self.input_tokens is None or self.output_tokens is None):
            return used
        return msgspec.structs.replace(
            used,
            lacks_input=used.lacks_input or self.input_tokens is None,
            lacks_output=used.lacks_output or self.output_tokens is None,
        )

    def corrected(self, earlier: Usage | None, unread: Unread = ALL_READ) -> Usage | None:
        """Return the figures of an answer so far with what this block, which can be, says anew."""
        return _usage(self, earlier or UNTOLD, unread) or earlier


def _usage(block: UsageBlock, earlier: Usage, unread: Unread) -> Usage | None:
    """Read a block over earlier figures.

    Its `iterations`, where it has them, are all passes there were; its top leaves out those of a compaction and of
    other models, but alone tells what was thought and searched.
    """
    passes: list[Pass] = [*block.iterations] if block.iterations else [block]
    if not any(one.says_something for one in passes) or not all(one.can_be for one in (block, *passes)):
        return None
    before = NOTHING_USED if block.iterations else earlier
    own = [_pass(one, before) for one in passes if one.others_model is None]
    total = added(own) if own else NOTHING_USED
    thought, searches = _at_top(block, earlier)
    if "output_tokens" in unread:
        total = msgspec.structs.replace(
            total, output_tokens=max(total.output_tokens, min(max(thought, 0), MOST_TOKENS))
        )
    dearer = earlier.surcharge_percent if block.inference_geo is None else surcharge_percent(block.inference_geo)
    others = [(one.others_model, _pass(one, before)) for one in passes if one.others_model]
    return msgspec.structs.replace(
        total,
        surcharge_percent=dearer,
        reasoning_tokens=min(max(thought, 0), total.output_tokens),
        lacks_input=_lacks(earlier.lacks_input, block.input_tokens, unread & _INPUTS),
        lacks_output=_lacks(earlier.lacks_output, block.output_tokens, unread & _OUTPUTS),
        web_searches=min(max(searches, 0), MOST_TOKENS),
        service_tier=_service_tier(block) or earlier.service_tier,
        others=tuple(
            OtherModel(name, msgspec.structs.replace(used, surcharge_percent=dearer)) for name, used in others
        ),
    )


def _lacks(lacked: bool, told: int | None, unread: Unread) -> bool:
    """Tell whether part of what was read, or written, is not known: it cannot be read here, or could not before."""
    return bool(unread) or (lacked and told is None)


def _pass(one: Pass, earlier: Usage) -> Usage:
    """Map one pass over earlier figures: what it leaves out stays as it was."""
    written, written_1h = _writes(one, earlier)
    cached = earlier.cached_tokens if one.cache_read_input_tokens is None else one.cache_read_input_tokens
    known = earlier.cached_tokens + earlier.cache_write_tokens + earlier.cache_write_1h_tokens
    fresh = earlier.input_tokens - known if one.input_tokens is None else one.input_tokens
    return checked_usage(
        input_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written - written_1h,
        cache_write_1h_tokens=written_1h,
        output_tokens=earlier.output_tokens if one.output_tokens is None else one.output_tokens,
    )


def _writes(one: Pass, earlier: Usage) -> tuple[int, int]:
    """Return what was written to the cache, and how much of it for an hour; what is not told is for the usual time."""
    parts = one.cache_creation
    if parts is None:
        usual, hour = earlier.cache_write_tokens, earlier.cache_write_1h_tokens
    else:
        usual, hour = parts.ephemeral_5m_input_tokens or 0, parts.ephemeral_1h_input_tokens or 0
    written = usual + hour if one.cache_creation_input_tokens is None else one.cache_creation_input_tokens
    return written, min(max(hour, 0), written)


def _at_top(block: UsageBlock, earlier: Usage) -> tuple[int, int]:
    """Return the tokens that were thought, and the searches."""
    details, tools = block.output_tokens_details, block.server_tool_use
    thought = details.thinking_tokens if details else None
    searches = tools.web_search_requests if tools else None
    return (
        earlier.reasoning_tokens if thought is None else thought,
        earlier.web_searches if searches is None else searches,
    )


def _service_tier(block: UsageBlock) -> str | None:
    """Return the word by which prices know how the call was served; None for the standard service."""
    if block.speed == "fast":
        return "fast"
    return block.service_tier if block.service_tier != "standard" else None
