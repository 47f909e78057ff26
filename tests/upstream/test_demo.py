"""The demo upstream, asked by the official SDKs as any provider would be."""

from base64 import b64decode
from collections.abc import AsyncIterator

import anthropic
import httpx
import openai
import pytest
from google import genai

from gateway.core.sound import length_of
from gateway.core.upstreams import Upstream
from gateway.upstream.demo import DemoUpstream
from gateway.upstream.models import ModelLists
from gateway.upstream.pool import Pool
from tests.patience import PATIENCE_SECONDS

ASK = "How are you?"


def count(model: str, text: str) -> int:
    """Words, so that a test can count along."""
    return len(text.split())


@pytest.fixture
async def demo() -> AsyncIterator[DemoUpstream]:
    async with DemoUpstream(count) as running:
        yield running


@pytest.fixture
async def client(demo: DemoUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=demo.base_url, api_key="any", max_retries=0, _strict_response_validation=True
    ) as running:
        yield running


async def test_chat_echoes_and_counts(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": ASK}])
    text = answer.choices[0].message.content or ""
    assert text.endswith(f"You said: {ASK}")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3 + 4 + 3, count("", text))


async def test_chat_under_a_cap_stops_for_length(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}], max_completion_tokens=4
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("This is the demo", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


@pytest.mark.parametrize("asked", [True, False])
async def test_streamed_chat_reports_usage_only_if_asked(client: openai.AsyncOpenAI, asked: bool) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": ASK}],
        stream=True,
        stream_options={"include_usage": True} if asked else openai.omit,
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith(ASK)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [count("", text)] * asked


async def test_legacy_completion_answers(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="gpt-4o", prompt=ASK)
    assert answer.choices[0].text.endswith(ASK)


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_embeddings_come_in_both_forms(demo: DemoUpstream, form: str) -> None:
    # Not the strict client: it validates before the SDK unpacks the base64 that it asked for.
    async with openai.AsyncOpenAI(base_url=demo.base_url, api_key="any") as client:
        answer = await client.embeddings.create(
            model="text-embedding-3-small",
            input=["a b", "c"],
            dimensions=16,
            encoding_format="float" if form == "float" else openai.omit,  # the SDK asks for base64 by itself
        )
    assert [len(item.embedding) for item in answer.data] == [16, 16]
    assert sum(value * value for value in answer.data[0].embedding) == pytest.approx(1)
    assert answer.usage.prompt_tokens == 3


async def test_stored_response_can_be_fetched_chained_and_deleted(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="gpt-4o", input=ASK)
    assert (await client.responses.retrieve(first.id)).output_text == first.output_text
    chained = await client.responses.create(model="gpt-4o", input="more", previous_response_id=first.id)
    assert chained.previous_response_id == first.id
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)


async def test_cancel_takes_background_responses_only(client: openai.AsyncOpenAI) -> None:
    behind = await client.responses.create(model="gpt-4o", input=ASK, background=True)
    assert (await client.responses.cancel(behind.id)).id == behind.id
    plain = await client.responses.create(model="gpt-4o", input=ASK)
    with pytest.raises(openai.BadRequestError):
        await client.responses.cancel(plain.id)


async def test_streamed_response_ends_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.responses.create(model="gpt-4o", input=ASK, stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.output_text.endswith(ASK)


async def test_malformed_body_is_a_bad_request(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.post("/chat/completions", body={"model": 1}, cast_to=object)


async def test_anthropic_sdk_reads_messages_plain_and_streamed(demo: DemoUpstream) -> None:
    async with anthropic.AsyncAnthropic(base_url=demo.root_url, api_key="any", max_retries=0) as client:
        turns: list[anthropic.types.MessageParam] = [{"role": "user", "content": ASK}]
        plain = await client.messages.create(model="claude-sonnet-4-6", max_tokens=100, messages=turns)
        async with client.messages.stream(model="claude-sonnet-4-6", max_tokens=100, messages=turns) as stream:
            streamed = await stream.get_final_message()
        counted = await client.messages.count_tokens(model="claude-sonnet-4-6", messages=turns)
    assert [block.model_dump()["text"] for block in plain.content] == [streamed.content[0].model_dump()["text"]]
    assert plain.usage.output_tokens == streamed.usage.output_tokens
    assert counted.input_tokens == plain.usage.input_tokens == 10


# google-genai derives from aiohttp's ClientSession, which aiohttp discourages.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_google_sdk_reads_generated_content_plain_and_streamed(demo: DemoUpstream) -> None:
    options = genai.types.HttpOptions(base_url=demo.root_url)
    client = genai.Client(api_key="any", http_options=options).aio
    plain = await client.models.generate_content(model="gemini-2.5-flash", contents=ASK)
    stream = await client.models.generate_content_stream(model="gemini-2.5-flash", contents=ASK)
    pieces = [piece async for piece in stream]
    await client.aclose()
    assert plain.text == "".join(piece.text or "" for piece in pieces)
    usage = pieces[-1].usage_metadata
    assert usage is not None and plain.usage_metadata is not None
    assert usage.total_token_count == plain.usage_metadata.total_token_count


async def test_generated_content_comes_as_one_array_too_and_below_the_demos_own_base(demo: DemoUpstream) -> None:
    body = {"contents": [{"parts": [{"text": ASK}]}]}
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        for base in (demo.root_url, demo.base_url):
            answer = await client.post(f"{base}/v1beta/models/gemini-2.5-flash:streamGenerateContent", json=body)
            texts = [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in answer.json()]
            assert "".join(texts).endswith(f"You said: {ASK}")


async def test_model_lists_of_both_shapes_name_the_same_models(demo: DemoUpstream, pool: Pool) -> None:
    lists = ModelLists(pool)
    ours = await lists.of(Upstream("demo", "demo", demo.base_url, ""))
    google = await lists.of(Upstream("google", "gemini", demo.root_url, ""))
    assert [model.id for model in ours] == [model.id for model in google]
    assert (ours[0].created, ours[0].owned_by) == (1_735_689_600, "demo")


async def test_picture_is_one_pixel_and_tells_its_tokens(client: openai.AsyncOpenAI) -> None:
    made = await client.images.generate(model="gpt-image-1-mini", prompt=ASK, n=2)
    edited = await client.images.edit(model="gpt-image-1-mini", prompt=ASK, image=("a.png", b"x"))
    for answer, count_of in ((made, 2), (edited, 1)):
        assert len(answer.data or ()) == count_of and answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3 * count_of, 272 * count_of)
        assert b64decode((answer.data or [])[0].b64_json or "").startswith(b"\x89PNG")
    stream = await client.images.generate(model="gpt-image-1-mini", prompt=ASK, stream=True)
    assert [event.type async for event in stream] == ["image_generation.completed"]


async def test_speech_is_silence_of_the_texts_length_and_can_be_transcribed(client: openai.AsyncOpenAI) -> None:
    spoken = await client.audio.speech.create(model="tts-1", voice="alloy", input="x" * 42)
    sound = length_of(spoken.content)
    assert sound.ms == sound.most_ms == 3_000
    heard = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", spoken.content))
    assert heard.usage is not None and heard.usage.type == "duration" and heard.usage.seconds == 3
    text = await client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", spoken.content), response_format="text"
    )
    assert text == heard.text


async def test_moderation_finds_no_harm(demo: DemoUpstream) -> None:
    # Not the strict client: its type wants every category there ever was.
    async with openai.AsyncOpenAI(base_url=demo.base_url, api_key="any") as client:
        judged = await client.moderations.create(input=[ASK, ASK])
    assert [one.flagged for one in judged.results] == [False, False]
