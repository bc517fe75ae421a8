"""The blocks of code that README and docs begin with, run as somebody would who pastes them, in order."""

import json
import os
import pathlib
import re
import sys

from gateway import Gateway
from processes import Failure, plain_env, run

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
# One variable a line, after a line that no answer holds.
MARK = "--- what the shell holds now"


def block(document: str, heading: str, language: str) -> str:
    """The one block of code of that language in a section."""
    _, _, rest = (REPOSITORY / document).read_text().partition(f"\n## {heading}\n")
    found = re.findall(rf"```{language}\n(.*?)```", rest.partition("\n## ")[0], re.DOTALL)
    if len(found) != 1:
        raise Failure(f"{document} has {len(found)} {language} blocks under {heading}, not 1")
    return found[0]


def answers(text: str) -> list[object]:
    """JSON values one after the other, whether or not anything stands between them."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := len(text) - len(text[at:].lstrip())) < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


class Reader:
    """Somebody with a fresh gateway, two provider keys, and what README and docs begin with."""

    def __init__(self, gateway: Gateway, providers: dict[str, str], keys: dict[str, str]) -> None:
        self._gateway = gateway
        self._env = plain_env() | keys
        self._env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{self._env.get('PATH', os.defpath)}"
        # What is not as it is at a reader's: the ports, the folder, the providers, and patience.
        self._changes = providers | {
            "http://127.0.0.1:3443": gateway.url,
            "127.0.0.1:3444": gateway.grpc_address,
            "data/root.key": str(gateway.data / "root.key"),
            '"messages":': '"max_tokens":8,"messages":',
            "stream=True,": "stream=True, max_tokens=8,",
        }

    def _adapted(self, code: str) -> str:
        for said, meant in self._changes.items():
            code = code.replace(said, meant)
        return code

    def paste(self, code: str) -> str:
        """What the shell prints; it keeps its variables for the next block."""
        after = f"\necho '{MARK}'\nprintf 'ROOT=%s\\nAPI=%s\\nKEY=%s\\n' \"$ROOT\" \"$API\" \"$KEY\""
        # It stops at the first command that fails, which a pasted block would not.
        text = run("bash", "-euo", "pipefail", "-c", self._adapted(code) + after, env=self._env)
        printed, _, held = text.rpartition(MARK)
        self._env |= dict(line.split("=", 1) for line in held.split())
        return printed

    def python(self, code: str) -> str:
        return run(sys.executable, "-c", self._adapted(code), env=self._env)
