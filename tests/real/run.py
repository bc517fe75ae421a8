#!/usr/bin/env python3
"""The gateway's main job with nothing made up: a real model, the official SDKs, curl and grpcurl.

Pastes what README and docs begin with; does the same by hand on a gateway whose pool holds the real key, a dead
one and one whose upstream always fails; then puts a second gateway in front of it; then restarts the first.
Prints a line for every law it saw kept, and stops at the first that was not.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import signal
import sys
import tempfile
import traceback

import errors
import openai
from clients import Anthropic, OpenAi, Tally
from gateway import Gateway
from laws import expect, kept, law
from model_server import MODEL
from processes import Failure, Process, curl, free_port, plain_env, wait_until
from readme import Reader, answers, block
from scripted import ScriptedUpstream

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ALL_SECONDS_MAX = 600
MODEL_START_SECONDS_MAX = 120
USAGE_SECONDS_MAX = 5

REAL_KEY = "sk-real-0123456789abcdefghijklmn"
# The model's second key, for the reader of README.
OTHER_KEY = "sk-othr-0123456789abcdefghijklmn"
DEAD_KEY = "sk-dead-0123456789abcdefghijklmn"
FAILING_KEY = "sk-fail-0123456789abcdefghijklmn"
CREDIT = 10.0
# Dollars for a million tokens.
PRICES = {"ChatPricing": {MODEL: {"Provider": "openai", "InputText": 1, "OutputText": 2}}}
DOLLARS = 1e-9
CALLS_IN_A_ROW = 12
# It sleeps 1 s, then 2, 4, 8 …; more often than this would be a key that does not sleep.
FAILING_ASKED_MAX = 8


def near(a: float, b: float) -> bool:
    return abs(a - b) < DOLLARS


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


class Story:
    """What the checks share."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path) -> None:
        self.first = Gateway("a", program, folder, PRICES)
        self.second = Gateway("b", program, folder, PRICES)
        self.troubled = Gateway("d", program, folder, errors.PRICES, errors.SETTINGS)
        # With the prices that come with the program.
        self.fresh = Gateway("c", program, folder)
        self.model_url = ""
        self.scripted: ScriptedUpstream
        self.started_on = today()
        self.tally, self.second_tally = Tally(), Tally()
        self.key = self.second_key = ""
        self.prompt_tokens = 0

    def used_equals(self, gateway: Gateway, account: str, key: str, tally: Tally) -> None:
        """Requests, tokens, cost and balance of an account are what its client was told."""
        cost = (tally.input * 1 + tally.output * 2) / 1e6
        seen: dict[str, object] = {}

        def settled() -> bool:
            row = gateway.account(account)
            info = gateway.call("GET", "/dashboard/info", key=key)
            bill = gateway.bill(account, self.started_on, today())
            seen.update(row=row, info=info, bill=bill)
            return (
                row["Requests"] == bill["requests"] == info["monthly_usage"]["Requests"] == tally.calls
                and (bill["inputTokens"], bill["outputTokens"]) == (tally.input, tally.output)
                and near(row["CreditUsed"], cost)
                and near(info["credit_used"], cost)
                and near(bill["costNanos"] / 1e9, cost)
                and near(info["balance"], CREDIT - cost)
            )

        try:
            wait_until("usage is posted", USAGE_SECONDS_MAX, settled)
        except Failure as late:
            raise Failure(f"{late}; expected {tally} costing {cost:.9f}, saw {seen}") from None


def readme(story: Story) -> None:
    gateway = story.fresh
    providers = {"https://api.openai.com": story.model_url, "https://api.anthropic.com": story.model_url}
    reader = Reader(gateway, providers, {"OPENAI_API_KEY": REAL_KEY, "ANTHROPIC_API_KEY": OTHER_KEY})
    five_minutes, openai_sdk = (block("README.md", "Five minutes", language) for language in ("sh", "python"))
    woken = block("docs/quick-start.md", "When something is refused", "sh")
    grpc = block("docs/grpc.md", "A second provider", "sh")
    anthropic_sdk = block("docs/quick-start.md", "A second provider", "python")
    with law("README's curl lines work when pasted, from the first start to the bill"):
        gateway.start()
        said = reader.paste(five_minutes)
        added, answer, info, rows = answers(said)
        expect(added["success"] is True, said)
        expect(answer["choices"][0]["message"]["content"], said)
        expect(info["monthly_usage"]["Requests"] == rows[0]["Requests"] == 1, said)
        expect(info["credit_used"] == rows[0]["CreditUsed"] > 0, said)
    with law("the quick start's line that wakes every key works when pasted"):
        said = reader.paste(woken)
        (loaded,) = answers(said)
        expect(loaded["success"] is True, said)
    with law("README's OpenAI lines stream an answer"):
        expect(reader.python(openai_sdk).strip(), "nothing was printed")
    with law("the grpcurl lines of docs work when pasted"):
        said = reader.paste(grpc)
        services, _, messages = said.partition("{")
        expect("proxyxai.v1.Keys" in services.split(), said)
        created, settings, keys, account, bill, nodes = answers("{" + messages)
        expect(settings["settings"]["LEVEL_MAPPER"] == "claude-*=1", said)
        expect(created["id"] == keys["keys"][1]["id"] and account["account"]["name"] == "bobby", said)
        expect(int(bill["total"]["requests"]) >= 1, said)
        expect([node["connected"] for node in nodes["nodes"]] == [True], said)
    with law("the quick start's Anthropic lines are answered, on the level that its models are sent to"):
        expect(reader.python(anthropic_sdk).strip(), "nothing was printed")
    with law("what README's reader started ends with exit status 0"):
        status = gateway.stop()
        expect(status == 0, f"the gateway exited {status}")


def first_start(story: Story) -> None:
    gateway = story.first
    with law("the first start needs no configuration and shows the root key once"):
        gateway.start()
        gateway.read_root_key()

    with law("keys are added by curl, and no answer repeats a secret"):
        real = {
            "SecretKey": REAL_KEY,
            "Provider": story.model_url,
            "Name": "real",
            "Config": {"models": [MODEL]},
        }
        dead = {"SecretKey": DEAD_KEY, "Provider": story.scripted.url, "Name": "dead", "Level": 0}
        failing = {"SecretKey": FAILING_KEY, "Provider": story.scripted.url, "Name": "failing", "Level": 0}
        for body in (real, dead, failing):
            answer = gateway.call("POST", "/x-keys", body)
            expect(answer["success"] is True, answer)
            expect(body["SecretKey"] not in json.dumps(answer), "the answer repeats the secret")
        listed = gateway.call("GET", "/x-keys")
        expect({row["Name"] for row in listed} == {"real", "dead", "failing"}, listed)
        gateway.call("POST", "/x-conf", {"LoadKeys": True})

    with law("a sub-account is created, and may not look at the key pool"):
        story.key = gateway.add_account("alice", CREDIT)
        status, answer = curl("GET", f"{gateway.url}/x-keys", story.key)
        expect(status in (401, 403), f"{status}: {answer}")


def openai_sdk(story: Story) -> None:
    client = OpenAi(story.first.url, story.key)
    with law("the OpenAI SDK chats"):
        client.chat(story.tally)
    with law("the OpenAI SDK streams and gets the usage it asks for"):
        story.prompt_tokens = client.stream(story.tally)
    with law("a client that did not ask for usage is shown none"):
        client.stream_without_usage(story.tally, story.prompt_tokens)
    with law("the OpenAI SDK lists the models"):
        listed = client.models()
        expect(MODEL in listed, f"{MODEL} is not among {listed}")
    with law("a wrong key is an AuthenticationError"):
        try:
            OpenAi(story.first.url, errors.WRONG_KEY).chat(Tally())
        except openai.AuthenticationError as refused:
            expect(refused.code == "invalid_api_key", f"its code is {refused.code}")
        else:
            raise Failure("a wrong key was served")
    with law(f"{CALLS_IN_A_ROW} calls in a row succeed with a dead and a failing key in the pool"):
        for _ in range(CALLS_IN_A_ROW):
            client.chat(story.tally, tokens_max=4)


def anthropic_sdk(story: Story) -> None:
    client = Anthropic(story.first.url, story.key)
    with law("the Anthropic SDK gets a message"):
        client.message(story.tally)
    with law("the Anthropic SDK streams a message"):
        client.stream(story.tally)


def pool_health(story: Story) -> None:
    with law("a key that answers 401 is asked once"):
        asked = story.scripted.asked(DEAD_KEY)
        expect(asked == 1, f"it was asked {asked} times")
        disabled = [row["Name"] for row in story.first.call("GET", "/x-conf")["DisabledKeys"]]
        expect(disabled == ["dead"], f"DisabledKeys of GET /x-conf are {disabled}")
    with law("a key that answers 503 is asked a few times and then sleeps"):
        asked = story.scripted.asked(FAILING_KEY)
        expect(1 <= asked <= FAILING_ASKED_MAX, f"it was asked {asked} times")
    with law("no upstream saw a key that is not its own"):
        expect(not story.scripted.strangers(), "a credential came that this upstream never gave out")


def key_names(gateway: Gateway) -> list[tuple]:
    """The pool as grpcurl lists it, without what changes by itself."""
    text = gateway.grpc("proxyxai.v1.Keys/ListKeys", data={})
    for secret in (REAL_KEY, DEAD_KEY, FAILING_KEY):
        expect(secret not in text, "ListKeys shows a secret")
    return [(key["id"], key["name"], key["provider"], key.get("enabled")) for key in json.loads(text)["keys"]]


def grpc_front(story: Story) -> None:
    gateway = story.first
    with law("grpcurl finds the services by reflection"):
        services = gateway.grpc("list").split()
        for service in ("Keys", "Accounts", "Settings", "Reports"):
            expect(f"proxyxai.v1.{service}" in services, f"{service} is not among {services}")
    with law("grpcurl sees the service in health"):
        health = gateway.grpc("grpc.health.v1.Health/Check", anonymous=True)
        expect(json.loads(health) == {"status": "SERVING"}, health)
    with law("grpcurl lists the keys, without their secrets"):
        keys = key_names(gateway)
        expect([name for _, name, _, _ in keys] == ["real", "dead", "failing"], keys)


def cascade(story: Story) -> None:
    gateway = story.second
    with law("a second gateway takes the first one's client key into its pool"):
        gateway.start()
        gateway.read_root_key()
        upper = {"SecretKey": story.key, "Provider": story.first.url, "Name": "upper"}
        gateway.call("POST", "/x-keys", upper)
        gateway.call("POST", "/x-conf", {"LoadKeys": True})
        story.second_key = gateway.add_account("bobby", CREDIT)
    with law("chat and streams go through both"):
        client, told = OpenAi(gateway.url, story.second_key), Tally()
        client.chat(told)
        client.stream(told)
        client.stream_without_usage(told, story.prompt_tokens)
        for tally in (story.tally, story.second_tally):
            tally.calls += told.calls
            tally.input += told.input
            tally.output += told.output
    with law("both count the same tokens"):
        story.used_equals(gateway, "bobby", story.second_key, story.second_tally)
        story.used_equals(story.first, "alice", story.key, story.tally)


def restart(story: Story) -> None:
    gateway = story.first
    keys = key_names(gateway)
    with law("SIGTERM right after a call: usage is kept, and the exit status is 0"):
        OpenAi(gateway.url, story.key).chat(story.tally)
        status = gateway.stop()
        expect(status == 0, f"the gateway exited {status}")
    said_before = len(gateway.process.text())
    with law("after a restart keys, accounts, usage and the root key are all there"):
        gateway.start()
        root_key = gateway.root_key
        gateway.read_root_key()
        expect(gateway.root_key == root_key, "the root key changed")
        expect(root_key not in gateway.process.text()[said_before:], "a later start prints the root key")
        expect(key_names(gateway) == keys, "the pool changed")
        story.used_equals(gateway, "alice", story.key, story.tally)
    with law("and calls work, on both gateways"):
        OpenAi(gateway.url, story.key).stream(story.tally)
        told = Tally()
        OpenAi(story.second.url, story.second_key).chat(told)
        for tally in (story.tally, story.second_tally):
            tally.add(told.input, told.output)
        story.used_equals(gateway, "alice", story.key, story.tally)
        story.used_equals(story.second, "bobby", story.second_key, story.second_tally)
    with law("no log holds a secret"):
        for node in (gateway, story.second):
            for secret in (REAL_KEY, DEAD_KEY, FAILING_KEY, story.key, story.second_key, errors.WRONG_KEY):
                expect(secret not in node.process.text(), f"the log of {node.name} holds {secret[:8]}…")


def start_model(model: Process, folder: pathlib.Path) -> str:
    port = free_port()
    command = [sys.executable, str(HERE / "model_server.py"), str(port), str(folder), REAL_KEY, OTHER_KEY]
    model.start(command, plain_env())
    url = f"http://127.0.0.1:{port}"
    model.wait_ready("the model answers", MODEL_START_SECONDS_MAX, lambda: "ready" in model.text())
    status, answer = curl("GET", f"{url}/v1/models", REAL_KEY)
    expect(status == 200, f"the model server answered {status}: {answer}")
    return url


def tell(program: pathlib.Path, model_folder: pathlib.Path | None, node_folder: pathlib.Path) -> int:
    with tempfile.TemporaryDirectory(prefix="proxyxai-real-") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        story = Story(program, folder)
        model = Process("model server", folder / "model.log")
        gateways = (story.fresh, story.first, story.second, story.troubled)
        watched = (model, *(gateway.process for gateway in gateways))
        for process in watched:
            stack.callback(process.destroy)
        try:
            with law("a real model is served by llama.cpp"):
                story.model_url = start_model(model, model_folder or folder)
            story.scripted = stack.enter_context(ScriptedUpstream(DEAD_KEY, FAILING_KEY))
            readme(story)
            first_start(story)
            openai_sdk(story)
            anthropic_sdk(story)
            pool_health(story)
            grpc_front(story)
            with law("requests, tokens and cost on the sub-account are those the SDKs were told"):
                story.used_equals(story.first, "alice", story.key, story.tally)
            errors.told_by_sdks(story.troubled, node_folder)
            cascade(story)
            restart(story)
        except Exception as problem:
            if isinstance(problem, Failure):
                print(f"      {problem}")
            else:
                traceback.print_exc(file=sys.stdout)
            for process in watched:
                print(f"--- end of the log of {process.name}\n{process.tail()}", flush=True)
            return 1
    print(f"{kept()} laws kept", flush=True)
    return 0


def main() -> int:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--gateway", type=pathlib.Path, default=REPOSITORY / "target/debug/proxyxai")
    about.add_argument("--model-dir", type=pathlib.Path, help="keep the model file here for the next run")
    about.add_argument("--node-dir", type=pathlib.Path, default=REPOSITORY / "target/test-node", help="where the Node SDK is")
    options = about.parse_args()

    def on_signal(number: int, _frame: object) -> None:
        # Unwinds the stack, which ends every process that was started.
        raise SystemExit(128 + number)

    def on_alarm(*_: object) -> None:
        raise Failure(f"the test took longer than {ALL_SECONDS_MAX} s")

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(ALL_SECONDS_MAX)
    # The SDKs read these; all traffic of this test stays on this machine.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_"))]:
        del os.environ[name]
    return tell(options.gateway.resolve(), options.model_dir, options.node_dir.resolve())


if __name__ == "__main__":
    sys.exit(main())
