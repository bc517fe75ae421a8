#!/usr/bin/env python3
"""Every answer of a running gateway is one that its OpenAPI document tells of, whatever it is asked.

Has schemathesis make requests of the document, good ones and bad ones, for root and for an account below it, and looks
that none is answered by a fault of the gateway, that each answer has a status, a type and a shape of the document, that
what cannot be right is refused, and that nothing is told without a key.
"""

import argparse
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "real"))

from gateway import Gateway  # noqa: E402
from laws import expect, kept, law  # noqa: E402
from processes import Failure, curl, plain_env  # noqa: E402

KEY = "sk-real-0123456789abcdefghijklmn"
PRICES = {"ChatPricing": {"house": {"InputText": 1, "OutputText": 1}}}
ANSWER = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "house",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}).encode()  # fmt: skip
MODELS = json.dumps({"object": "list", "data": [{"id": "house", "object": "model"}]}).encode()
SEED = 20240229
CASES_MIN = 5000
PASS_SECONDS_MAX = 600
ACCOUNTS = 30
KEYS = 40

# Calls that change the system's rules would change what the other operations answer: they have a gateway of their own.
RULES = ("updateSettings", "updateSettingsByPost", "deleteSettings", "updateSystemConf")
# Operations that succeed. The others are closed, or want what is not made by chance: today's date and a word, a link
# from a mail, a sealed text, a price table, the id of something that the caller has made.
SUCCEEDED_MIN = 90


class Provider:
    """Answers every call with the same, and says which models it has."""

    def __init__(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                text = MODELS if self.command == "GET" and self.path.endswith("/models") else ANSWER
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()


class World:
    """A gateway with something of everything in it."""

    def __init__(self, name: str, program: pathlib.Path, folder: pathlib.Path, provider: Provider) -> None:
        # Nothing is to be refused for its rate, nor for having no price.
        variables = {"ADMIN_RPM": "1000000", "UNPRICED": "serve"}
        self.gateway = Gateway(name, program, folder, PRICES, variables)
        self.folder, self.provider = folder, provider
        self.accounts: list[str | int] = []
        self.keys: list[int] = []
        self.account_key = ""

    def start(self) -> None:
        gateway = self.gateway
        gateway.start()
        gateway.read_root_key()
        # A level without calls, so that deleting one of them keeps no call from its provider.
        for number in range(KEYS):
            body = {"SecretKey": f"{KEY}{number}", "Provider": self.provider.url, "Level": 9}
            self.keys.append(gateway.call("POST", "/x-keys", body)["Key"]["ID"])
        gateway.call("POST", "/x-keys", {"SecretKey": KEY, "Provider": self.provider.url, "Level": 0})
        self.account_key = gateway.add_account("operator", 100_000.0)
        for number in range(ACCOUNTS):
            body = {"Name": f"child{number}", "Email": f"child{number}@example.com", "CreditGranted": 100}
            made = gateway.call("POST", "/x-users", body, self.account_key)
            self.accounts += [made["User"]["ID"], f"child{number}"]
        chat = {"model": "house", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        for _ in range(5):
            gateway.call("POST", "/v1/chat/completions", chat, self.account_key)

    def is_well(self) -> None:
        for key in (self.gateway.root_key, self.account_key):
            status, answer = curl("GET", f"{self.gateway.url}/dashboard/status", key)
            expect(status == 200, f"after the run a key is no good: {answer}")

    def stop(self) -> None:
        self.gateway.process.destroy()


def config(world: World, key: str, examples: int) -> str:
    """The configuration of a pass, as TOML, which JSON's texts and numbers are."""
    values = lambda items: json.dumps([str(item) for item in items])  # noqa: E731
    return f"""
seed = {SEED}
hooks = "hooks"
continue-on-failure = true
request-timeout = 30
suppress-health-check = ["all"]
warnings = false

[auth.openapi.bearer]
bearer = {json.dumps(key)}

[auth.openapi.apiKey]
api_key = {json.dumps(key)}

[generation]
deterministic = true
database = "none"
no-shrink = true
max-examples = {examples}

[dictionaries.accounts]
values = {values(world.accounts)}

[dictionaries.keys]
values = {values(world.keys)}

[parameters]
"path.identifier" = {{ dictionary = "accounts", probability = 0.7 }}
"path.target" = {{ dictionary = "accounts", probability = 0.7 }}
"query.user" = {{ dictionary = "accounts", probability = 0.7 }}
"path.filter" = {{ dictionary = "keys", probability = 0.7 }}

[checks]
# Rules between fields, and those that ask what is there, are no part of a schema.
positive_data_acceptance.enabled = false

[[operations]]
include-path-regex = "^/(v1/(?!dashboard)|models|metrics|healthz|readyz|openapi|dashboard/models)"
# What is no call is 404 there, as the document says.
checks.unsupported_method.enabled = false
"""


def schemathesis(world: World, name: str, key: str, examples: int, chosen: list[str]) -> dict[str, dict[str, int]]:
    """Runs one pass; how many cases it had, by operation and status."""
    folder = world.folder / name
    folder.mkdir()
    tally = folder / "tally.json"
    (folder / "schemathesis.toml").write_text(config(world, key, examples))
    command = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")),
        "--config-file", str(folder / "schemathesis.toml"),
        "run", f"{world.gateway.url}/openapi.json",
        "--phases", "coverage,fuzzing",
        *chosen,
    ]  # fmt: skip
    env = plain_env() | {
        "PYTHONPATH": str(HERE),
        "OPENAPI_PROVIDER": world.provider.url,
        "OPENAPI_TALLY": str(tally),
        "NO_PROXY": "*",
    }
    log = folder / "log"
    with log.open("wb") as out:
        done = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            timeout=PASS_SECONDS_MAX, check=False,
        )  # fmt: skip
    if done.returncode != 0 or not tally.exists():
        print(log.read_text(errors="replace")[-60_000:], flush=True)
        raise Failure(f"schemathesis exited {done.returncode}")
    return json.loads(tally.read_text())


def chosen(*, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    named = [("--include-operation-id", name) for name in include]
    named += [("--exclude-operation-id", name) for name in exclude]
    return [word for pair in named for word in pair]


def succeeded(tally: dict[str, dict[str, int]]) -> set[str]:
    return {name for name, counts in tally.items() if any(status.startswith("2") for status in counts)}


def operations(document: dict) -> dict[str, tuple[str, str]]:
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            found[operation["operationId"]] = (method.upper(), path)
    return found


def closed(document: dict) -> set[str]:
    """Calls that are refused for everybody."""
    all_of_them = (operation for item in document["paths"].values() for operation in item.values())
    return {each["operationId"] for each in all_of_them if each["tags"] == ["Calls that are not open"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", type=pathlib.Path, required=True)
    parser.add_argument("--examples", type=int, default=5, help="cases of each operation in a pass, besides those of its borders")
    options = parser.parse_args()
    provider, worlds = Provider(), []
    with tempfile.TemporaryDirectory() as name:
        try:
            for kind in ("reads", "rules"):
                folder = pathlib.Path(name) / kind
                folder.mkdir()
                world = World(kind, options.gateway.resolve(), folder, provider)
                worlds.append(world)
                world.start()
            reads, rules = worlds
            document = curl("GET", f"{reads.gateway.url}/openapi.json")[1]
            passes = (
                ("as root", reads, reads.gateway.root_key, chosen(exclude=RULES)),
                # What is closed is closed for root already.
                ("as an account", reads, reads.account_key, chosen(exclude=(*RULES, *closed(document)))),
                ("the rules, as root", rules, rules.gateway.root_key, chosen(include=RULES)),
            )
            wrong, cases, good, seen = 0, 0, set(), set()
            for title, world, key, names in passes:
                try:
                    with law(f"{title}: every answer is one that the document tells of"):
                        tally = schemathesis(world, title.replace(" ", "-"), key, options.examples, names)
                except Failure as failure:
                    # The other passes may find something else.
                    print(f"      {failure}", flush=True)
                    wrong += 1
                    continue
                count = sum(sum(counts.values()) for counts in tally.values())
                print(f"      {count} cases of {len(tally)} operations", flush=True)
                cases, good, seen = cases + count, good | succeeded(tally), seen | set(tally)
            if wrong:
                return 1
            with law("the keys of the run are good at its end"):
                reads.is_well()
            with law(f"{cases} cases are at least {CASES_MIN}, of every operation"):
                expect(cases >= CASES_MIN, "too few")
                missing = set(operations(document)) - seen
                expect(not missing, f"never asked: {sorted(missing)}")
            with law(f"{len(good)} operations have succeeded, so the run was not blind"):
                expect(len(good) >= SUCCEEDED_MIN, f"never did: {sorted(seen - good - closed(document))}")
            print(f"{kept()} laws kept")
            return 0
        except Failure as failure:
            print(f"      {failure}", flush=True)
            return 1
        finally:
            for world in worlds:
                world.stop()
            provider.stop()


if __name__ == "__main__":
    sys.exit(main())
