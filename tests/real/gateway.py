"""One gateway under test: its process, its root key, and the calls an operator makes."""

import json
import os
import pathlib
import re
import stat
import sys

from processes import Failure, Process, curl, free_port, plain_env, run

CLIENT_KEY = re.compile(r"\bsk-Xvs[A-Za-z0-9]{45}\b")
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10


class Gateway:
    def __init__(
        self,
        name: str,
        program: pathlib.Path,
        folder: pathlib.Path,
        prices: dict | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.process = Process(f"gateway {name}", folder / f"gateway-{name}.log")
        self._program = program
        self.data = folder / f"data-{name}"
        self._port, self._grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.grpc_address = f"127.0.0.1:{self._grpc_port}"
        self._env = plain_env() | {
            "PORT": str(self._port),
            "GRPC_PORT": str(self._grpc_port),
            "DATA_DIR": str(self.data),
            # The days of a bill are then the days this test computes.
            "TZ": "UTC",
        }
        self._env |= variables or {}
        if prices is not None:
            self._env["PRICING"] = json.dumps(prices)
        self.root_key = ""

    def start(self) -> None:
        self.process.start([str(self._program)], self._env)
        self.process.wait_ready("GET /healthz answers 200", START_SECONDS_MAX, self._healthy)

    def _healthy(self) -> bool:
        try:
            return curl("GET", f"{self.url}/healthz")[0] == 200
        except Failure:
            return False

    def stop(self) -> int:
        return self.process.terminate(STOP_SECONDS_MAX)

    def read_root_key(self) -> None:
        """The root key as the first start showed it: printed, and in a file that only its owner can read."""
        file = self.data / "root.key"
        kept = file.read_text().strip()
        if not CLIENT_KEY.fullmatch(kept):
            raise Failure(f"{file.name} does not hold a client key")
        mode = stat.S_IMODE(os.stat(file).st_mode)
        if mode != 0o600:
            raise Failure(f"{file.name} has mode {mode:o}, not 600")
        if kept not in CLIENT_KEY.findall(self.process.text()):
            raise Failure("the first start did not print the root key")
        self.root_key = kept

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> object:
        """A management call that has to answer 200, by root unless another key is given."""
        status, answer = curl(method, self.url + path, key or self.root_key, body)
        if status != 200:
            raise Failure(f"{method} {path} answered {status}: {answer}")
        return answer

    def grpc(self, *arguments: str, data: dict | None = None, anonymous: bool = False) -> str:
        """The output of the real grpcurl, which finds the services by reflection."""
        command = [str(pathlib.Path(sys.executable).with_name("grpcurl")), "-plaintext", "-max-time", "20"]
        if not anonymous:
            command += ["-H", f"authorization: Bearer {self.root_key}"]
        if data is not None:
            command += ["-d", json.dumps(data)]
        return run(*command, self.grpc_address, *arguments, env=plain_env())

    def add_account(self, name: str, credit: float, **more: object) -> str:
        """Creates a sub-account of root and returns its client key."""
        body = {"Name": name, "Email": f"{name}@example.com", "CreditGranted": credit, **more}
        answer = self.call("POST", "/x-users", body)
        key = answer["User"]["SecretKey"]
        if not CLIENT_KEY.fullmatch(key):
            raise Failure(f"POST /x-users gave no client key: {answer}")
        return key

    def account(self, name: str) -> dict:
        """The row of GET /x-users with this name."""
        for row in self.call("GET", "/x-users"):
            if row["Name"] == name:
                return row
        raise Failure(f"GET /x-users does not list {name}")

    def bill(self, account: str, first_day: str, last_day: str) -> dict[str, int]:
        """What the account is billed for these days, over all models."""
        asked = {"account": account, "startDate": first_day, "endDate": last_day}
        total = json.loads(self.grpc("proxyxai.v1.Reports/GetBill", data=asked)).get("total", {})
        # A field that is 0 is left out, and 64-bit numbers come as text.
        names = ("requests", "inputTokens", "cachedTokens", "outputTokens", "costNanos")
        return {name: int(total.get(name, 0)) for name in names}
