#!/usr/bin/env python3
"""Dockerfile and docker-compose.yml agree with each other and with the program they package.

Needs no container engine: it reads the two files and asks the program what it knows.
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import urllib.parse

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SECRETS = {"MASTER_KEY", "NODE_TOKEN", "POSTGRES_PASSWORD", "INIT_USERS", "INIT_KEYS"}
HTTP_PORT, GRPC_PORT = "3443", "3444"
COMMAND_SECONDS_MAX = 20


class Dockerfile:
    """The last stage of a Dockerfile, as far as it matters here."""

    def __init__(self, text: str) -> None:
        joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
        stages = re.split(r"(?m)^FROM ", joined)[1:]
        self.images = [stage.split()[0] for stage in stages]
        self._last = re.findall(r"(?m)^([A-Z]+) +(.+)$", stages[-1])
        self.env = dict(word.split("=", 1) for word in self.words("ENV"))
        self.copied = [path for stage in stages for path in _copied(stage)]

    def words(self, instruction: str) -> list[str]:
        return [word for name, rest in self._last if name == instruction for word in shlex.split(rest)]


def _copied(stage: str) -> list[str]:
    """What a stage copies from the repository, not from another stage."""
    lines = [rest.split() for rest in re.findall(r"(?m)^COPY +(.+)$", stage)]
    return [path for words in lines if not words[0].startswith("--from") for path in words[:-1]]


def known_variables(program: pathlib.Path) -> dict[str, str]:
    """Name and table row of every variable that the program reads."""
    done = run(program, "config-table")
    rows = {row[1]: row[0] for row in re.finditer(r"(?m)^\| *`([A-Z][A-Z0-9_]*)`.*$", done.stdout)}
    if done.returncode != 0 or len(rows) < 5:
        sys.exit(f"FAIL  `proxyxai config-table` printed no table: {done.stdout[:300]}{done.stderr[:300]}")
    return rows


def run(program: pathlib.Path, *arguments: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [program, *arguments],
        env={"PATH": os.environ.get("PATH", "")} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )


def version(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def dockerfile_problems(image: Dockerfile, known: dict[str, str]):
    for name in image.env:
        if name not in known:
            yield f"Dockerfile sets {name}, which the program does not know"
    if image.words("EXPOSE") != [HTTP_PORT, GRPC_PORT]:
        yield f"Dockerfile exposes {image.words('EXPOSE')}"
    for name, port in (("PORT", HTTP_PORT), ("GRPC_PORT", GRPC_PORT)):
        if port not in known.get(name, ""):
            yield f"{name} is not {port} by default, which Dockerfile exposes"
    if image.words("VOLUME") != [image.env.get("DATA_DIR")]:
        yield f"the volume is {image.words('VOLUME')}, the data are in {image.env.get('DATA_DIR')}"
    if image.words("USER")[-1:] in ([], ["root"], ["0"]):
        yield "the image runs as root"
    if not {"[proxyxai,", "healthcheck]"} <= set(image.words("HEALTHCHECK")):
        yield f"the health check is {image.words('HEALTHCHECK')}"
    wanted = re.search(r'(?m)^rust-version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text())
    if not version(image.images[0]) >= version(wanted[1]):
        yield f"{image.images[0]} is older than rust-version {wanted[1]}"
    if image.images[0].rpartition("-")[2] not in image.images[-1]:
        yield f"built on {image.images[0]}, run on {image.images[-1]}: not the same C library"
    for path in image.copied:
        if not (REPOSITORY / path).exists():
            yield f"Dockerfile copies {path}, which does not exist"


def service_problems(name: str, service: dict, image: Dockerfile, known: dict[str, str], compose: dict):
    environment = service.get("environment", {})
    for variable, value in environment.items():
        if variable not in known:
            yield f"{name} sets {variable}, which the program does not know"
        if variable.startswith("CONTROL_"):
            port = GRPC_PORT if variable == "CONTROL_GRPC" else HTTP_PORT
            url = urllib.parse.urlsplit(value)
            if compose["services"].get(url.hostname, {}).get("command") != ["control"] or str(url.port) != port:
                yield f"{name}: {variable}={value} is not where control listens"
    for port in service.get("ports", []):
        if port.split(":")[-1] not in image.words("EXPOSE"):
            yield f"{name} publishes {port}, which the image does not expose"
    mounts = [volume.split(":")[1] for volume in service.get("volumes", [])]
    if mounts != image.words("VOLUME"):
        yield f"{name} keeps {mounts}, the image's data are in {image.words('VOLUME')}"
    if "dataplane" in service.get("command", []) and not {"NODE_TOKEN", "NODE_NAME"} <= set(environment):
        yield f"{name} has no NODE_TOKEN or no NODE_NAME"


def compose_problems(compose: dict):
    services = compose["services"]
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if variable in SECRETS and value is not None and not str(value).startswith("${"):
                yield f"{name}: the secret {variable} stands in the file"
        if service.get("profiles") and "${" in str(service) and ":?" in str(service):
            yield f"{name}: a required variable in a profile stops every other profile"
        for other in service.get("depends_on", {}):
            if set(services.get(other, {"profiles": ["absent"]}).get("profiles", [])) - set(service.get("profiles", [])):
                yield f"{name} depends on {other}, which is not there when it is"
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    if sorted(mounted) != sorted(compose["volumes"]):
        yield f"volumes declared: {sorted(compose['volumes'])}; used, each by one service: {sorted(mounted)}"
    hosts = [port.rpartition(":")[0].rpartition(":")[2] for s in services.values() for port in s.get("ports", [])]
    if len(set(hosts)) != len(hosts):
        yield f"a port of the host is published twice: {sorted(hosts)}"
    if [name for name, service in services.items() if not service.get("profiles")] != ["proxyxai"]:
        yield "`docker compose up` does not start the all-in-one service alone"


def program_problems(program: pathlib.Path, commands: set[str]):
    for command in sorted(commands):
        done = run(program, command, "--help")
        if done.returncode != 0:
            yield f"`proxyxai {command} --help` exited {done.returncode}: {done.stderr[:300]}"
    # Port 1 of the loopback: nobody listens there.
    if run(program, "healthcheck", PORT="1").returncode == 0:
        yield "`proxyxai healthcheck` is content although nothing listens"


def main() -> int:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--gateway", type=pathlib.Path, default=REPOSITORY / "target/debug/proxyxai")
    program = about.parse_args().gateway.resolve()
    image = Dockerfile((REPOSITORY / "Dockerfile").read_text())
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    known = known_variables(program)
    ours = {name: service for name, service in compose["services"].items() if service["image"] == "proxyxai"}
    commands = {word for service in ours.values() for word in service.get("command", [])} | {"healthcheck"}

    problems = [*dockerfile_problems(image, known), *compose_problems(compose)]
    for name, service in ours.items():
        problems += service_problems(name, service, image, known, compose)
    problems += program_problems(program, commands)
    for problem in problems:
        print(f"FAIL  {problem}")
    if not problems:
        print(f"ok    Dockerfile and {len(compose['services'])} services agree with the program")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
