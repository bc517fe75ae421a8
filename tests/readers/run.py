#!/usr/bin/env python3
"""What the gateway metered is what any server reads, or the gateway has refused the call.

Sends bodies that readers understand differently through a gateway, and gives what the provider got to the parsers
of real servers: Python's (json, Starlette, FastAPI), Node's (JSON.parse, busboy), Go's (encoding/json,
mime/multipart) and llama.cpp's (nlohmann/json). Whoever reads a model has to read the one that was metered.
"""

import argparse
import base64
import http.client
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "real"))

from cases import CASES, Case  # noqa: E402
from gateway import Gateway  # noqa: E402
from laws import expect, kept, law  # noqa: E402
from processes import Failure  # noqa: E402

KEY = "sk-real-0123456789abcdefghijklmn"
PRICES = {"ChatPricing": {name: {"InputText": 1, "OutputText": 1} for name in ("cheap", "dear")}}
ANSWER = json.dumps({
    "id": "c", "object": "chat.completion", "model": "m", "text": "hi",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}).encode()  # fmt: skip
LOG_SECONDS_MAX = 10
COMMAND_SECONDS_MAX = 300
# Bodies that are refused for a reason; there are about thirty.
DIFFERENT_MIN = 20


class Provider:
    """Keeps what it got, by the id of the call."""

    def __init__(self) -> None:
        got: dict[str, tuple[str | None, bytes]] = {}
        self.got = got

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                got[self.headers["x-request-id"]] = (self.headers.get("content-type"), body)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()


class Reader:
    """A parser in a process of its own: a line in, a line out."""

    def __init__(self, name: str, *command: str) -> None:
        self.name = name
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def models(self, said: str | None, body: bytes) -> list[str]:
        asked = {"type": said, "body": base64.b64encode(body).decode()}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Failure(f"the reader {self.name} ended with {self._process.wait(5)}")
        return json.loads(line)["models"]

    def stop(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()


def readers(folder: pathlib.Path, node: pathlib.Path) -> list[Reader]:
    def build(*command: str) -> None:
        subprocess.run(command, check=True, timeout=COMMAND_SECONDS_MAX)

    build("go", "build", "-o", str(folder / "read-go"), str(HERE / "read.go"))
    build("c++", "-std=c++17", "-O0", "-o", str(folder / "read-cpp"), str(HERE / "read.cpp"))
    return [
        Reader("Python", sys.executable, str(HERE / "read.py")),
        Reader("Node", "node", str(HERE / "read.mjs"), str(node.resolve())),
        Reader("Go", str(folder / "read-go")),
        Reader("llama.cpp", str(folder / "read-cpp")),
    ]


def send(gateway: Gateway, key: str, number: int, case: Case) -> int:
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest("POST", case.path, skip_accept_encoding=True)
        for said in case.said:
            connection.putheader("content-type", said)
        for name, value in {
            "authorization": f"Bearer {key}",
            "content-length": str(len(case.body)),
            "x-request-id": f"case-{number}",
        }.items():
            connection.putheader(name, value)
        connection.endheaders(case.body)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def metered(log: pathlib.Path, wanted: int) -> dict[str, str | None]:
    """The model of each call that left a usage record, once so many calls are in the log."""
    end = time.monotonic() + LOG_SECONDS_MAX
    while True:
        lines = log.read_text().splitlines() if log.exists() else []
        if len(lines) >= wanted:
            break
        if time.monotonic() > end:
            raise Failure(f"after {LOG_SECONDS_MAX} s the log has {len(lines)} of {wanted} calls")
        time.sleep(0.05)
    rows = [json.loads(line) for line in lines]
    return {row["request_id"]: row["model"] for row in rows}


def check(case: Case, got: tuple[str | None, bytes] | None, model: str | None, all_readers: list[Reader]) -> None:
    if got is None:
        expect(case.plain is None, "the gateway refused what everybody reads alike")
        return
    expect(model, "it went on without being metered")
    for reader in all_readers:
        read = reader.models(*got)
        other = [name for name in read if name != model]
        expect(not other, f"{reader.name} reads {other}, and {model!r} was metered")
        if case.plain and reader.name != "llama.cpp":
            expect(set(read) == {case.plain}, f"{reader.name} reads {read}, not {case.plain!r}")
    if case.plain:
        expect(model == case.plain, f"{model!r} was metered, not {case.plain!r}")


def disagree(case: Case, all_readers: list[Reader]) -> bool:
    said = case.said[0] if case.said else None
    found = [tuple(reader.models(said, case.body)) for reader in all_readers]
    names = {name for read in found for name in read}
    return len(names) > 1 or any(len(read) == 0 for read in found) and len(names) == 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", type=pathlib.Path, required=True)
    parser.add_argument("--node-dir", type=pathlib.Path, required=True)
    options = parser.parse_args()
    provider, all_readers = Provider(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        log = folder / "access.log"
        # Also a model of no price would get through, so that nothing but the reading of a body refuses it.
        variables = {"UNPRICED": "serve", "ACCESS_LOG": str(log)}
        gateway = Gateway("readers", options.gateway.resolve(), folder, PRICES, variables)
        try:
            all_readers = readers(folder, options.node_dir)
            gateway.start()
            gateway.read_root_key()
            gateway.call("POST", "/x-keys", {"SecretKey": KEY, "Provider": provider.url})
            alice = gateway.add_account("alice", 100.0)
            statuses = [send(gateway, alice, number, case) for number, case in enumerate(CASES)]
            models = metered(log, len(CASES))
            wrong = 0
            for number, (case, status) in enumerate(zip(CASES, statuses, strict=True)):
                got = provider.got.get(f"case-{number}")
                try:
                    with law(f"{case.what}: {'refused' if got is None else 'one reading'} ({status})"):
                        check(case, got, models.get(f"case-{number}"), all_readers)
                except Failure as failure:
                    wrong += 1
                    print(f"      {failure}", flush=True)
            refused = [case for number, case in enumerate(CASES) if f"case-{number}" not in provider.got]
            differ = sum(1 for case in refused if disagree(case, all_readers))
            with law(f"of {len(refused)} refused bodies {differ} are read in two ways by real readers"):
                expect(differ >= DIFFERENT_MIN, "the readers, or the cases, are none")
            relayed = len(provider.got)
            print(f"{kept()} of {len(CASES) + 1} kept; {relayed} relayed, {len(CASES) - relayed} refused")
            return 1 if wrong else 0
        finally:
            for reader in all_readers:
                reader.stop()
            gateway.process.destroy()
            provider.stop()


if __name__ == "__main__":
    sys.exit(main())
