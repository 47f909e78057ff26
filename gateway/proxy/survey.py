"""The input file of a batch -> what its lines ask for, read before the batch is sent.

Every line is read as strictly as a call of its own. The file cannot change any more, so the provider runs what was read
here.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from gateway.core.batches import Lines
from gateway.core.call import Call
from gateway.core.errors import InvalidRequest
from gateway.core.estimates import most_input
from gateway.core.prices import ModelFacts
from gateway.core.selection import Catalog
from gateway.core.upstreams import Upstream
from gateway.dialects import files
from gateway.dialects.batches import read_line
from gateway.tokens.counter import TokenCounter
from gateway.upstream.fetch import fetch_lines
from gateway.upstream.pool import Pool

MOST_LINES = 50_000
AT_ONCE, MOST_BYTES_AT_ONCE = 200, 1_048_576
"""Lines that are counted in a thread together, and kept until then."""


async def survey(call: Call, keeper: Upstream, catalog: Catalog, pool: Pool, counter: TokenCounter) -> Call:
    """Return the call with its lines' model, all that they name, and what they ask for together.

    Raises InvalidRequest that names the line, NotFound for a file that is gone, UpstreamFailed.
    """
    content = files.CONTENT.about(call.references[0])
    surveyed = _Surveyed(catalog, keeper)
    waiting: list[Call] = []
    size = 0
    async for data in fetch_lines(pool, keeper, files.CONTENT.path(content)):
        waiting.append(surveyed.read(data, call.batch_endpoint))
        size += len(data)
        if len(waiting) == AT_ONCE or size > MOST_BYTES_AT_ONCE:
            await surveyed.count(waiting, counter)
            waiting, size = [], 0
    await surveyed.count(waiting, counter)
    return surveyed.whole(call)


class _Surveyed:
    """What is known of the lines so far."""

    def __init__(self, catalog: Catalog, keeper: Upstream) -> None:
        self._catalog = catalog
        self._keeper = keeper
        self._read = 0
        self._model = ""
        self._costs = False
        self._references: dict[str, None] = {}
        self._mentions: dict[str, None] = {}
        self._lines = Lines(0, 0, 0, 0, 0)

    def read(self, data: bytes, endpoint: str) -> Call:
        """Read one line. Raises InvalidRequest."""
        self._read += 1
        try:
            line = read_line(data, endpoint)
            self._check(line)
        except InvalidRequest as error:
            where = f"Line {self._read} of the input file: {error.message}"
            raise InvalidRequest(where, param="input_file_id") from None
        self._model = line.model
        self._costs = self._costs or line.costs
        self._references.update(dict.fromkeys(line.references))
        self._mentions.update(dict.fromkeys(line.mentions))
        return line

    def _check(self, line: Call) -> None:
        if self._read > MOST_LINES:
            raise InvalidRequest(f"A batch has at most {MOST_LINES} lines.")
        if self._model not in ("", line.model):
            raise InvalidRequest(f"It asks for `{line.model}`, the lines before it for `{self._model}`.")
        if line.model in self._catalog.aliases:
            name = self._catalog.aliases[line.model]
            raise InvalidRequest(f"`{line.model}` is a name of this gateway; in a batch write `{name}`.")

    async def count(self, calls: Sequence[Call], counter: TokenCounter) -> None:
        """Count the prompts of some lines."""
        if calls:
            facts = self._catalog.prices.facts(self._keeper.provider, self._model)
            prompts = await counter.prompts_of(calls[0].operation, self._model, [call.body for call in calls])
            most = [
                most_input(call, facts.context_window, prompt.held, exact=prompt.exact, unseen=prompt.unseen)
                for call, prompt in zip(calls, prompts, strict=True)
            ]
            self._lines = Lines(
                count=self._lines.count + len(calls),
                counted_tokens=self._lines.counted_tokens + sum(prompt.tokens for prompt in prompts),
                input_tokens=self._lines.input_tokens + sum(most),
                output_tokens=self._lines.output_tokens + sum(_caps(calls, facts)),
                widest_tokens=max(self._lines.widest_tokens, *most),
                has_audio=self._lines.has_audio or any(call.has_audio for call in calls),
                web_searches=self._lines.web_searches + sum(call.web_searches for call in calls),
            )

    def whole(self, call: Call) -> Call:
        """Return the call with all that was found. Raises InvalidRequest for a file without lines."""
        if not self._lines.count:
            raise InvalidRequest("The input file has no lines.", param="input_file_id")
        references = (*call.references, *self._references)
        named = replace(call, references=references, mentions=tuple(self._mentions))
        return replace(named, model=self._model, costs=self._costs, lines=self._lines)


def _caps(calls: Sequence[Call], facts: ModelFacts) -> Iterator[int]:
    for call in calls:
        cap = call.output_cap if call.output_cap is not None else facts.max_output_tokens
        yield cap * call.choices
