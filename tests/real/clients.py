"""The official SDKs as a customer uses them, with a tally of the tokens that they were told."""

import dataclasses

import anthropic
import openai
from model_server import MODEL
from processes import Failure

PROMPT = [{"role": "user", "content": "Tell me about rivers."}]
TOKENS_MAX = 16
# The model goes on to the limit, so the length of every answer is known beforehand.
FULL_LENGTH = {"ignore_eos": True}
SECONDS_MAX = 60


@dataclasses.dataclass
class Tally:
    """What an account ought to be billed."""

    calls: int = 0
    input: int = 0
    output: int = 0

    def add(self, prompt: int, completion: int) -> None:
        self.calls += 1
        self.input += prompt
        self.output += completion


class OpenAi:
    def __init__(self, url: str, key: str) -> None:
        # No tries of the SDK's own: an error of the gateway has to show.
        self.sdk = openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0, timeout=SECONDS_MAX)

    def chat(self, tally: Tally, tokens_max: int = TOKENS_MAX) -> None:
        answer = self.sdk.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=tokens_max, extra_body=FULL_LENGTH
        )
        if not answer.choices[0].message.content:
            raise Failure(f"an empty answer: {answer}")
        if answer.usage.completion_tokens != tokens_max:
            raise Failure(f"{answer.usage.completion_tokens} tokens were generated instead of {tokens_max}")
        tally.add(answer.usage.prompt_tokens, answer.usage.completion_tokens)

    def stream(self, tally: Tally) -> int:
        """A stream that asks for its usage; returns the tokens of the prompt."""
        chunks = self._chunks({"stream_options": {"include_usage": True}})
        told = [chunk.usage for chunk in chunks if chunk.usage is not None]
        if len(told) != 1 or chunks[-1].usage is None or chunks[-1].choices:
            raise Failure(f"usage was asked for and came in {len(told)} of {len(chunks)} chunks")
        tally.add(told[0].prompt_tokens, told[0].completion_tokens)
        return told[0].prompt_tokens

    def stream_without_usage(self, tally: Tally, prompt_tokens: int) -> None:
        """A stream whose client did not ask for usage: it is not shown any, and is billed all the same."""
        for chunk in self._chunks({}):
            if not chunk.choices or chunk.usage is not None:
                raise Failure(f"a chunk came that was not asked for: {chunk}")
        tally.add(prompt_tokens, TOKENS_MAX)

    def _chunks(self, options: dict) -> list:
        stream = self.sdk.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=TOKENS_MAX, stream=True, extra_body=FULL_LENGTH, **options
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        if not text or len(chunks) < TOKENS_MAX // 2:
            raise Failure(f"the answer was not streamed: {len(chunks)} chunks, text {text!r}")
        ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        if ends[-1] != "length":
            raise Failure(f"the stream ended with {ends[-1]!r}")
        return chunks

    def models(self) -> list[str]:
        return [model.id for model in self.sdk.models.list()]


class Anthropic:
    def __init__(self, url: str, key: str) -> None:
        self._sdk = anthropic.Anthropic(api_key=key, base_url=url, max_retries=0, timeout=SECONDS_MAX)
        self._ask = {"model": MODEL, "messages": PROMPT, "max_tokens": TOKENS_MAX, "extra_body": FULL_LENGTH}

    def message(self, tally: Tally) -> None:
        self._count(self._sdk.messages.create(**self._ask), tally)

    def stream(self, tally: Tally) -> None:
        with self._sdk.messages.stream(**self._ask) as stream:
            pieces = list(stream.text_stream)
            if len(pieces) < TOKENS_MAX // 2:
                raise Failure(f"the answer was not streamed: {len(pieces)} pieces")
            self._count(stream.get_final_message(), tally)

    @staticmethod
    def _count(message: anthropic.types.Message, tally: Tally) -> None:
        if not message.content or not message.content[0].text:
            raise Failure(f"an empty answer: {message}")
        usage = message.usage
        # Anthropic counts cached prompt tokens beside the others, not among them.
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        tally.add(usage.input_tokens + cached, usage.output_tokens)
