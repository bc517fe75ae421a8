"""Calls that are going to fail, and what the official SDKs make of them. Each SDK says the same of each call:
the text that came, the names of the error's classes from its own to the root, its status and its code."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator

import anthropic
import openai
from processes import plain_env, run

SECONDS_MAX = 30
TOKENS_MAX = 16


@dataclasses.dataclass(frozen=True)
class Call:
    """One call: `route` is chat, responses or messages."""

    base: str
    key: str
    model: str
    route: str
    stream: bool
    prompt: str = "Tell me about rivers."


@dataclasses.dataclass
class Outcome:
    text: str = ""
    # Empty when the SDK raised nothing.
    classes: tuple[str, ...] = ()
    status: int | None = None
    code: str | None = None


def _openai_pieces(call: Call) -> Iterator[str]:
    # No tries of the SDKs' own: an error of the gateway has to show.
    sdk = openai.OpenAI(api_key=call.key, base_url=f"{call.base}/v1", max_retries=0, timeout=SECONDS_MAX)
    if call.route == "chat":
        messages = [{"role": "user", "content": call.prompt}]
        asked = {"model": call.model, "messages": messages, "max_tokens": TOKENS_MAX}
        if not call.stream:
            yield sdk.chat.completions.create(**asked).choices[0].message.content
            return
        for chunk in sdk.chat.completions.create(**asked, stream=True):
            yield chunk.choices[0].delta.content or ""
        return
    asked = {"model": call.model, "input": call.prompt, "max_output_tokens": TOKENS_MAX}
    if not call.stream:
        yield sdk.responses.create(**asked).output_text
        return
    for event in sdk.responses.create(**asked, stream=True):
        if event.type == "response.output_text.delta":
            yield event.delta


def _anthropic_pieces(call: Call) -> Iterator[str]:
    sdk = anthropic.Anthropic(api_key=call.key, base_url=call.base, max_retries=0, timeout=SECONDS_MAX)
    messages = [{"role": "user", "content": call.prompt}]
    asked = {"model": call.model, "messages": messages, "max_tokens": TOKENS_MAX}
    if not call.stream:
        yield sdk.messages.create(**asked).content[0].text
        return
    with sdk.messages.stream(**asked) as stream:
        yield from stream.text_stream


def _ask(pieces: Iterator[str]) -> Outcome:
    outcome = Outcome()
    try:
        for piece in pieces:
            outcome.text += piece
    except Exception as error:
        outcome.classes = tuple(kind.__name__ for kind in type(error).__mro__)
        outcome.status = getattr(error, "status_code", None)
        outcome.code = getattr(error, "code", None) or _code(getattr(error, "body", None))
    return outcome


def _code(body: object) -> str | None:
    """Anthropic has no codes, so its SDK leaves ours in the body; beside the error, or where it is OpenAI's, inside."""
    if not isinstance(body, dict):
        return None
    return body.get("code") or body["error"].get("code")


class OpenAiPython:
    name, routes = "OpenAI's Python SDK", ("chat", "responses")
    # For a status without a class of its own, and for a body that ends too early.
    status_error, half_error = "APIStatusError", "APIConnectionError"

    def ask(self, calls: list[Call]) -> list[Outcome]:
        return [_ask(_openai_pieces(call)) for call in calls]


class AnthropicPython:
    name, routes = "Anthropic's Python SDK", ("messages",)
    status_error, half_error = "APIStatusError", "APIConnectionError"

    def ask(self, calls: list[Call]) -> list[Outcome]:
        return [_ask(_anthropic_pieces(call)) for call in calls]


class OpenAiNode:
    name, routes = "OpenAI's Node SDK", ("chat", "responses")
    # It lets the error of `fetch` pass when a body ends too early.
    status_error, half_error = "APIError", "TypeError"

    def __init__(self, folder: pathlib.Path) -> None:
        self._script = folder / "asking.mjs"
        # Node looks for packages where the script is.
        self._script.write_text(pathlib.Path(__file__).with_name("asking.mjs").read_text())

    def ask(self, calls: list[Call]) -> list[Outcome]:
        asked = json.dumps([dataclasses.asdict(call) for call in calls])
        said = json.loads(run("node", str(self._script), env=plain_env(), stdin=asked))
        return [Outcome(row["text"], tuple(row["classes"]), row["status"], row["code"]) for row in said]
