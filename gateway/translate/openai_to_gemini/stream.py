"""Gemini's events in OpenAI's words, one by one as they come.

Google's streams have no event that ends them: the answer is complete when each candidate has said why it ended. Some
models say so with every piece, so the end is told when nothing more comes.
"""

from gateway.core.call import Call, Stamp
from gateway.core.sse import data_of, split_events
from gateway.core.usage import Usage
from gateway.translate.gemini_content.answer import Candidate, Part, PromptFeedback, read
from gateway.translate.openai_chat.answer import Chunks, Finish, broken, error_event
from gateway.translate.openai_to_gemini.answer import (
    Ids,
    block_of,
    finish_of,
    image,
    logprobs_of,
    signed,
    tool_call,
)


class Progress:
    """How far one candidate is, and why it ended."""

    __slots__ = ("calls", "images", "reason", "signed")

    def __init__(self) -> None:
        self.calls = 0
        self.images = 0
        self.signed = False
        self.reason: str | None = None


class Stream:
    """One stream under way."""

    __slots__ = ("_blocked", "_chunks", "_failed", "_ids", "_progress")

    def __init__(self, call: Call, stamp: Stamp) -> None:
        self._chunks = Chunks(call, stamp)
        self._ids = Ids(stamp)
        self._progress: dict[int, Progress] = {}
        self._blocked: Finish | None = None
        self._failed = False

    def feed(self, events: bytes) -> bytes:
        """Return what whole events are in OpenAI's words."""
        told = [self._event(data) for event in split_events(events) if (data := data_of(event))]
        return told[0] if len(told) == 1 else b"".join(told)

    def finish(self, events: bytes, usage: Usage | None) -> bytes:
        """Return the end of the stream. Raises UpstreamFailed where Gemini did not end it."""
        told = self.feed(events)
        if self._failed:
            return told
        if self._blocked is not None:
            return b"".join([told, self._chunks.end(self._blocked), self._chunks.last(usage)])
        if not self._progress or any(one.reason is None for one in self._progress.values()):
            raise broken("ended before it was complete")
        ends = [self._end(index, one) for index, one in self._progress.items()]
        return b"".join([told, *ends, self._chunks.last(usage)])

    def _event(self, data: bytes) -> bytes:
        answer = read(data)
        if answer is None:
            return b""
        if answer.error is not None:
            self._failed = True
            return error_event(answer.error.code or 500, answer.error.message)
        if answer.candidates:
            return b"".join([self._candidate(candidate) for candidate in answer.candidates])
        return self._block(answer.prompt_feedback) if answer.prompt_feedback is not None else b""

    def _candidate(self, candidate: Candidate) -> bytes:
        index = candidate.index
        progress = self._progress.get(index)
        told = [] if progress is not None else [self._begin(index)]
        progress = self._progress[index]
        for part in (candidate.content.parts if candidate.content is not None else None) or ():
            if delta := self._delta(part, progress):
                told.append(self._chunks.delta(delta, index))
        if (logprobs := logprobs_of(candidate)) is not None:
            told.append(self._chunks.delta({}, index, logprobs))
        progress.reason = candidate.finish_reason or progress.reason
        return told[0] if len(told) == 1 else b"".join(told)

    def _end(self, index: int, progress: Progress) -> bytes:
        return self._chunks.end(finish_of(progress.reason or "STOP", called=progress.calls > 0), index)

    def _begin(self, index: int) -> bytes:
        self._progress[index] = Progress()
        return self._chunks.delta({"role": "assistant", "content": "", "refusal": None}, index)

    def _delta(self, part: Part, progress: Progress) -> dict[str, object]:
        """Return what a part adds, nothing for one of a kind that OpenAI's clients do not know."""
        if part.function_call is not None:
            place, progress.calls = progress.calls, progress.calls + 1
            return {"tool_calls": [{"index": place, **tool_call(part, part.function_call, self._ids)}]}
        if part.inline_data is not None:
            place, progress.images = progress.images, progress.images + 1
            return {"images": [{"index": place, **image(part.inline_data)}]}
        if part.thought:
            return {"reasoning_content": part.text} if part.text else {}
        delta: dict[str, object] = {"content": part.text} if part.text else {}
        if part.thought_signature is not None and part.text is not None and not progress.signed:
            progress.signed = True
            delta["extra_content"] = signed(part.thought_signature)
        return delta

    def _block(self, feedback: PromptFeedback) -> bytes:
        """Return an answer that will not come."""
        if self._progress:
            return b""
        told = self._begin(0)
        self._blocked = block_of(feedback)
        if feedback.block_reason_message:
            told += self._chunks.delta({"refusal": feedback.block_reason_message})
        return told
