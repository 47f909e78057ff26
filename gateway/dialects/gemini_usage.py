"""Google's usage figures: `usageMetadata`, by modality, and the searches that an answer is grounded on.

`promptTokenCount` has what was cached in it, not what tools put into the prompt; `candidatesTokenCount` leaves out the
thoughts. What an early block or an older model leaves out of both is still in the total.
"""

import re
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from gateway.core.usage import Usage, checked_usage
from gateway.dialects.gemini import MOST_TOKENS
from gateway.dialects.lenient import ALL_READ, Unread

_TIERS = {"FLEX": "flex", "PRIORITY": "priority", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
"""How a call was served, by the word that prices know; Vertex calls it a kind of traffic. All else is standard."""
_INPUTS = frozenset({"promptTokenCount", "toolUsePromptTokenCount"})
_OUTPUTS = frozenset({"candidatesTokenCount", "thoughtsTokenCount"})
_BY_PROMPT = re.compile(r"gemini-[12]\b")
"""Models to 2.5 charge a prompt that was grounded once; later ones each search."""


class ModalityCount(msgspec.Struct, gc=False):
    """How many tokens were of one modality: TEXT, AUDIO, IMAGE, VIDEO, DOCUMENT."""

    modality: str | None = None
    tokens: int | None = msgspec.field(default=None, name="tokenCount")


Counts = list[ModalityCount] | None


class UsageMetadata(msgspec.Struct, gc=False, rename="camel"):
    """`usageMetadata`; what is absent is 0. Embeddings spell `promptTokenDetails`."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: Counts = None
    prompt_token_details: Counts = None
    cache_tokens_details: Counts = None
    candidates_tokens_details: Counts = None
    tool_use_prompt_tokens_details: Counts = None
    service_tier: str | None = None
    traffic_type: str | None = None

    def usage(self, searches: int = 0, unread: Unread = ALL_READ) -> Usage | None:
        """Map the block; None for one that says nothing, and for figures that no model could reach.

        What the figures that are `unread`, or not there, would tell the total does, else our own count.
        """
        prompt, tools = self.prompt_token_count or 0, self.tool_use_prompt_token_count or 0
        candidates, thoughts = self.candidates_token_count or 0, self.thoughts_token_count or 0
        total = self.total_token_count or 0
        figures = (prompt, tools, candidates, thoughts, total)
        if min(figures) < 0 or not 0 < max(figures) <= MOST_TOKENS:
            return None
        lacks_input = lacks_output = False
        if not total:
            lacks_input = self.prompt_token_count is None or bool(unread & _INPUTS)
            lacks_output = self._tells_no_output or bool(unread & _OUTPUTS)
        elif unread & _INPUTS and not unread & _OUTPUTS:
            prompt = max(prompt, total - tools - candidates - thoughts)
        output = max(candidates + thoughts, total - prompt - tools)
        tier = _TIERS.get((self.service_tier or self.traffic_type or "").upper())
        if self._is_text:  # nearly every piece of a stream, and nothing in it to be held against anything else
            return Usage(
                input_tokens=prompt + tools,
                output_tokens=output,
                reasoning_tokens=thoughts,
                web_searches=searches,
                service_tier=tier,
                lacks_input=lacks_input,
                lacks_output=lacks_output,
            )
        audio, images = _media(self.prompt_tokens_details or self.prompt_token_details)
        tool_audio, tool_images = _media(self.tool_use_prompt_tokens_details)
        cached_audio, cached_images = _media(self.cache_tokens_details)
        output_audio, output_images = _media(self.candidates_tokens_details)
        usage = checked_usage(
            input_tokens=prompt + tools,
            cached_tokens=self.cached_content_token_count,
            input_audio_tokens=audio + tool_audio,
            input_image_tokens=images + tool_images,
            cached_audio_tokens=cached_audio,
            cached_image_tokens=cached_images,
            output_tokens=output,
            reasoning_tokens=thoughts,
            output_audio_tokens=output_audio,
            output_image_tokens=output_images,
            web_searches=searches,
            service_tier=tier,
        )
        return replace(usage, lacks_input=lacks_input, lacks_output=lacks_output)

    @property
    def _tells_no_output(self) -> bool:
        return self.candidates_token_count is None and self.thoughts_token_count is None

    @property
    def _is_text(self) -> bool:
        """True where neither the cache nor anything but text is told of."""
        if self.cached_content_token_count or self.cache_tokens_details or self.tool_use_prompt_tokens_details:
            return False
        for counts in (self.prompt_tokens_details, self.prompt_token_details, self.candidates_tokens_details):
            for each in counts or ():
                if each.modality != "TEXT":
                    return False
        return True


def _media(counts: Counts) -> tuple[int, int]:
    """Return the tokens of audio, and of pictures; the pages of documents are pictures."""
    audio = images = 0
    for each in counts or ():
        if each.modality == "AUDIO":
            audio += each.tokens or 0
        elif each.modality in ("IMAGE", "DOCUMENT"):
            images += each.tokens or 0
    return audio, images


def paid_searches(queries: Sequence[str], model: str | None) -> int:
    """Return how many searches are charged: one for each that differs, or one for all of them. Empty ones are free."""
    asked = {query for query in queries if query}
    return min(len(asked), 1) if _BY_PROMPT.match(model or "") else len(asked)
