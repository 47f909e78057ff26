"""Gemini's answers, whole or in pieces, in OpenAI's words.

Calls of functions come whole, and get an id where they have none.
"""

from collections.abc import Mapping

from gateway.core.call import Call, ErrorAnswer, Stamp
from gateway.core.usage import Usage
from gateway.translate.gemini_content.answer import (
    FILTERS,
    Answer,
    Blob,
    Candidate,
    FunctionCall,
    Logprob,
    Part,
    PromptFeedback,
    error_in,
    read,
    retry_delay,
)
from gateway.translate.openai_chat.answer import Choice, Finish, broken, completion, error_answer

_FINISHES: Mapping[str, Finish] = {"STOP": Finish("stop"), "MAX_TOKENS": Finish("length")}


def whole_answer(body: bytes, call: Call, stamp: Stamp, usage: Usage | None) -> bytes:
    """Return a completion. Raises UpstreamFailed for what is no answer of Gemini's."""
    answer = read(body)
    if answer is None or (answer.candidates is None and answer.prompt_feedback is None):
        raise broken("is not what Google's API promises")
    ids = Ids(stamp)
    choices = [_choice(candidate, ids) for candidate in answer.candidates or ()]
    return completion(call, stamp, choices or [_blocked(answer)], usage)


def error_of(status: int, body: bytes) -> ErrorAnswer:
    """Return an error in OpenAI's shape, and when to come back where Google says so."""
    error = error_in(body)
    return error_answer(status, error.message, retry_delay(error)) if error is not None else error_answer(status, None)


class Ids:
    """Gives ids to calls that have none, the same whenever the same answer is read."""

    __slots__ = ("_given", "_stem")

    def __init__(self, stamp: Stamp) -> None:
        self._stem = stamp.request_id.removeprefix("req_")
        self._given = 0

    def of(self, call: FunctionCall) -> str:
        """Return the call's id."""
        if call.id:
            return call.id
        self._given += 1
        return f"call_{self._stem}_{self._given}"


def finish_of(reason: str, *, called: bool) -> Finish:
    """Return OpenAI's word for why a candidate ended; one that calls a function ends with STOP too."""
    if reason == "STOP" and called:
        return Finish("tool_calls")
    if reason in FILTERS:
        return Finish("content_filter", reason)
    return _FINISHES.get(reason) or Finish("stop", reason)


def block_of(feedback: PromptFeedback | None) -> Finish:
    """Return the end of an answer that never began."""
    return Finish("content_filter", feedback.block_reason if feedback is not None else None)


def tool_call(part: Part, call: FunctionCall, ids: Ids) -> dict[str, object]:
    """Return a call. The signature goes where Google's own compatible endpoint has it."""
    arguments = "{}" if bytes(call.args) == b"null" else bytes(call.args).decode()
    function = {"name": call.name, "arguments": arguments}
    told: dict[str, object] = {"id": ids.of(call), "type": "function", "function": function}
    if part.thought_signature is not None:
        told["extra_content"] = signed(part.thought_signature)
    return told


def signed(signature: str) -> dict[str, object]:
    """Return the signature of a thought as `extra_content`."""
    return {"google": {"thought_signature": signature}}


def image(blob: Blob) -> dict[str, object]:
    """Return a picture that the model made, as other servers of this dialect send it."""
    return {"type": "image_url", "image_url": {"url": f"data:{blob.mime_type};base64,{blob.data}"}}


def logprobs_of(candidate: Candidate) -> dict[str, object] | None:
    """Return the probabilities of the tokens."""
    result = candidate.logprobs_result
    if result is None or result.chosen_candidates is None:
        return None
    tops = [top.candidates or [] for top in result.top_candidates or ()]
    tops += [[]] * (len(result.chosen_candidates) - len(tops))
    content = [
        _token(one) | {"top_logprobs": [_token(other) for other in top]}
        for one, top in zip(result.chosen_candidates, tops, strict=False)
    ]
    return {"content": content, "refusal": None}


def _token(token: Logprob) -> dict[str, object]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def _choice(candidate: Candidate, ids: Ids) -> Choice:
    parts = candidate.content.parts or [] if candidate.content is not None else []
    calls = [tool_call(part, part.function_call, ids) for part in parts if part.function_call is not None]
    said = [part for part in parts if part.text is not None and not part.thought]
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(part.text or "" for part in said) if said or not calls else None,
        "refusal": None,
    }
    if thoughts := "".join(part.text or "" for part in parts if part.thought):
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    if images := [image(part.inline_data) for part in parts if part.inline_data is not None]:
        message["images"] = images
    if signature := next((part.thought_signature for part in said if part.thought_signature), None):
        message["extra_content"] = signed(signature)
    finish = finish_of(candidate.finish_reason or "STOP", called=bool(calls))
    return Choice(candidate.index, message, finish, logprobs_of(candidate))


def _blocked(answer: Answer) -> Choice:
    feedback = answer.prompt_feedback
    message = {
        "role": "assistant",
        "content": None,
        "refusal": feedback.block_reason_message if feedback is not None else None,
    }
    return Choice(0, message, block_of(feedback))
