"""Chat completions with OpenAI's own client."""

from tests.gateway import MODEL, RunningGateway


async def test_chat_plain_is_answered_and_charged_what_the_provider_reported(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello", input_tokens=11, output_tokens=3)
    client = any_gateway.openai(await any_gateway.key())
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "Hello"
    row = await any_gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source, row.outcome) == (11, 3, "reported", "completed")
    await any_gateway.audit()
