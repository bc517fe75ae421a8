"""What goes wrong raises the error class that the official SDKs have for it, streamed or not, and never ends
like a short success."""

import dataclasses
import pathlib

from asking import AnthropicPython, Call, OpenAiNode, OpenAiPython, Outcome
from gateway import Gateway
from laws import expect, law
from processes import free_port
from troubled import TEXT, TroubledUpstream

CREDIT = 10.0
# Of the right form, and nobody's.
WRONG_KEY = "sk-Xvs" + "0" * 45
BODY_BYTES_MAX = 100_000
# A key that fails is asked again only within this, and here each failing key is alone.
RETRY_DEADLINE_MS = 200
# Dollars for a million tokens, whatever the model.
PRICES = {
    "ChatPricing": {
        "*": {"Provider": "openai", "InputText": 1, "OutputText": 2},
        "dear": {"Provider": "openai", "InputText": 1_000_000, "OutputText": 1_000_000},
    }
}
# What the gateway under test is started with.
SETTINGS = {
    # These tests are of errors, not of prices.
    "UNPRICED": "serve",
    "BODY_BYTES_MAX": str(BODY_BYTES_MAX),
    "RETRY_DEADLINE_MS": str(RETRY_DEADLINE_MS),
}
OTHER = None
STREAMED_OR_NOT = 2
# Of five routes: cut, with a late error, and not streamed; a call that fails at first may ask two keys.
CUT_CALLS_MAX = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """A call, and what has to come of it. Without `code`, the code is the provider's."""

    what: str
    trouble: str
    # The SDK's class; `OTHER`: the one for a status that has none of its own.
    error: str | None
    status: int | None
    code: str | None = None
    key: str = "alice"
    path: str = ""
    prompt_bytes: int = 0


REFUSALS = (
    Case("a wrong key", "ok", "AuthenticationError", 401, "invalid_api_key", key="wrong"),
    Case("a purse that does not cover the call", "dear", OTHER, 402, "insufficient_quota"),
    Case("a model that is not allowed", "ok", "PermissionDeniedError", 403, "model_not_allowed", key="bound"),
    Case("a path that is none", "ok", "NotFoundError", 404, "not_found", path="/nowhere"),
    Case("a body that is too long", "ok", OTHER, 413, "request_too_large", prompt_bytes=BODY_BYTES_MAX),
    Case("a full window", "ok", "RateLimitError", 429, "rate_limit_exceeded", key="hasty"),
)
PROVIDERS_ERRORS = (
    Case("a provider's 400", "400", "BadRequestError", 400),
    Case("a provider's 404", "404", "NotFoundError", 404),
    Case("rate limits of all keys", "429", "RateLimitError", 429),
    Case("a 500 of all keys", "500", "InternalServerError", 500),
    Case("overload of all keys", "529", "InternalServerError", 529),
    Case("a provider that cannot be reached", "gone", "InternalServerError", 502),
)


def told_by_sdks(gateway: Gateway, node_folder: pathlib.Path) -> None:
    sdks = (OpenAiPython(), AnthropicPython(), OpenAiNode(node_folder))
    with TroubledUpstream() as upstream:
        gateway.start()
        gateway.read_root_key()
        pool, keys = Pool(gateway, upstream.url, len(sdks)), accounts(gateway)
        for sdk in sdks:
            refused(sdk, gateway.url, keys, pool)
            cut(sdk, gateway.url, keys["alice"])
        status = gateway.stop()
        expect(status == 0, f"the gateway exited {status}")


class Pool:
    """Keys of an upstream in trouble. What fails by status says how soon its key may be asked again; a key whose
    answers break off, or that cannot be reached, rests, so that for those each call has a key of its own."""

    WELL, CUT, GONE = 0, 1, 2

    def __init__(self, gateway: Gateway, url: str, sdks: int) -> None:
        self._gateway, self._count, self._gone = gateway, 0, 0
        gone = sdks * STREAMED_OR_NOT
        levels = ["cut*=1", *(f"gone.{number}={self.GONE + number}" for number in range(gone))]
        gateway.call("POST", "/x-conf", {"LevelMapper": ",".join(levels)})
        for level in [self.WELL] * 2 + [self.CUT] * CUT_CALLS_MAX:
            self._add(url, level)
        for number in range(gone):
            self._add(f"http://127.0.0.1:{free_port()}", self.GONE + number)

    def model(self, trouble: str) -> str:
        if trouble != "gone":
            return trouble
        self._gone += 1
        return f"gone.{self._gone - 1}"

    def _add(self, url: str, level: int) -> None:
        self._count += 1
        secret = f"sk-trouble-{self._count:04}-0123456789abcdefghijklmn"
        self._gateway.call("POST", "/x-keys", {"SecretKey": secret, "Provider": url, "Level": level})


def accounts(gateway: Gateway) -> dict[str, str]:
    """Client keys by name: one that is well, and one for each way to be refused."""
    keys = {"wrong": WRONG_KEY}
    for name, credit, more in (
        ("alice", CREDIT, {}),
        ("bound", CREDIT, {"AllowModels": "another-model"}),
        ("hasty", CREDIT, {"RPD": 1}),
    ):
        keys[name] = gateway.add_account(name, credit, **more)
    call = Call(gateway.url, keys["hasty"], "ok", "chat", stream=False)
    with law("a call that is well is answered"):
        outcome = OpenAiPython().ask([call])[0]
        expect(outcome == Outcome(TEXT), outcome)
    return keys


def refused(sdk: object, url: str, keys: dict[str, str], pool: Pool) -> None:
    cases = [(case, stream) for case in REFUSALS + PROVIDERS_ERRORS for stream in (False, True)]
    calls = [
        Call(url + case.path, keys[case.key], pool.model(case.trouble), sdk.routes[0], stream, "x" * case.prompt_bytes or "x")
        for case, stream in cases
    ]
    outcomes = sdk.ask(calls)
    with law(f"{sdk.name} raises its own classes for our refusals and for the errors of providers"):
        for (case, stream), outcome in zip(cases, outcomes, strict=True):
            about = f"{case.what}, {'streamed' if stream else 'whole'}: {outcome}"
            expect((case.error or sdk.status_error) in outcome.classes, about)
            expect(outcome.status == case.status and not outcome.text, about)
            expect(case.code in (None, outcome.code), about)


def cut(sdk: object, url: str, key: str) -> None:
    calls = [Call(url, key, trouble, route, stream=True) for trouble in ("cut", "cut-late") for route in sdk.routes]
    outcomes = sdk.ask(calls)
    with law(f"{sdk.name} raises its own error for a stream that is cut off or ends in an error, after its whole events"):
        for call, outcome in zip(calls, outcomes, strict=True):
            expect("APIError" in outcome.classes, f"{call.model} {call.route}: {outcome}")
            expect(outcome.text == TEXT, f"{call.model} {call.route}: {outcome}")
    calls = [Call(url, key, "cut", route, stream=False) for route in sdk.routes]
    outcomes = sdk.ask(calls)
    with law(f"{sdk.name} does not take half an answer for a whole one"):
        for call, outcome in zip(calls, outcomes, strict=True):
            expect(sdk.half_error in outcome.classes and not outcome.text, f"{call.route}: {outcome}")
