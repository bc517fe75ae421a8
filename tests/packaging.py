#!/usr/bin/env python3
"""Dockerfile, docker-compose.yml and docker-compose.fleet.yml agree with each other and with the program they package.

Needs no container engine: it reads the files and asks the program what it knows. As root on Debian it also lays out the
files of the image as Dockerfile does, from this system's, and runs the program with nothing else in sight. What it does not
check: that an engine builds the image, and that the base images are there.
"""

import argparse
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
ALONE, FLEET = "docker-compose.yml", "docker-compose.fleet.yml"
SECRETS = {
    "DATABASE_PASSWORD", "EMAIL_PASS", "INIT_KEYS", "INIT_USERS", "MASTER_KEY", "METRICS_TOKEN", "NODE_TOKEN", "POSTGRES_PASSWORD",
    "ROOT_KEY",
}
# Of whom a service reads the variables, by its command.
READERS = {
    "": {"all", "control", "dataplane", "prices"},
    "control": {"all", "control", "prices"},
    "dataplane": {"all", "dataplane"},
}
# Variables that a compose file does not hand through, and why.
INSIDE = "the image listens where its ports and its health check are"
NOT_HANDED = {
    "PORT": INSIDE,
    "LISTEN": INSIDE,
    "GRPC_PORT": INSIDE,
    "GRPC_LISTEN": INSIDE,
    "DATA_DIR": "the image sets it to the volume",
}
SERVER = "DATABASE_URL names the server of the fleet"
IN_FLEET = NOT_HANDED | {
    "POSTGRES_DSN": SERVER,
    "POSTGRES_DSN_FILE": SERVER,
    "DATABASE_URL_FILE": SERVER,
    "DATABASE_PASSWORD_FILE": "the password is the fleet's own",
    "NODE_TOKEN_FILE": "the token is asked for, and may be given once",
}
# Variables that a service sets to something of its own.
SET = {"CONTROL_GRPC", "CONTROL_HTTP", "DATABASE_PASSWORD", "DATABASE_URL", "NODE_NAME", "NODE_TOKEN"}
USER = "10001:10001"
# What stopping takes beyond the drain at most: a second for clients, then traces, usage and leases are handed in,
# 3, 5 and 2 seconds, and the servers of control end. And some to spare.
STOP_SECONDS_MAX = 15
HTTP_PORT, GRPC_PORT = "3443", "3444"
COMMAND_SECONDS_MAX = 20
START_SECONDS_MAX = 30


class Dockerfile:
    """The last stage of a Dockerfile, as far as it matters here."""

    def __init__(self, text: str) -> None:
        joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
        stages = re.split(r"(?m)^FROM ", joined)[1:]
        self.text = joined
        self.images = [stage.split()[0] for stage in stages]
        # The command that lays out the files of the image below /image.
        self.layout = re.search(r"(?m)^RUN +(mkdir .*/image.*)$", joined)
        self._last = re.findall(r"(?m)^([A-Z]+) +(.+)$", stages[-1])
        self.env = dict(word.split("=", 1) for word in self.words("ENV"))
        self.copies = [rest for name, rest in self._last if name == "COPY"]
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


def defaults(known: dict[str, str]) -> dict[str, str]:
    return {name: row.split("|")[2].strip(" `") for name, row in known.items()}


def readers(row: str) -> str:
    return row.split("|")[3].strip()


def further(known: dict[str, str]) -> set[str]:
    """Beginnings of variables that the table names by the way: those of OpenTelemetry."""
    return {name for row in known.values() for name in re.findall(r"`(OTEL_[A-Z_]+)…?`", row)} - set(known)


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
        if name not in known and name != "PATH":
            yield f"Dockerfile sets {name}, which the program does not know"
    if image.words("EXPOSE") != [HTTP_PORT, GRPC_PORT]:
        yield f"Dockerfile exposes {image.words('EXPOSE')}"
    for name, port in (("PORT", HTTP_PORT), ("GRPC_PORT", GRPC_PORT)):
        if port not in known.get(name, ""):
            yield f"{name} is not {port} by default, which Dockerfile exposes"
    if image.words("VOLUME") != [image.env.get("DATA_DIR")]:
        yield f"the volume is {image.words('VOLUME')}, the data are in {image.env.get('DATA_DIR')}"
    if image.words("USER") != [USER]:
        yield f"the image runs as {image.words('USER')}, not as {USER} by number"
    if "--mount" in image.text:
        yield "Dockerfile needs BuildKit"
    if not {"[proxyxai,", "healthcheck]"} <= set(image.words("HEALTHCHECK")):
        yield f"the health check is {image.words('HEALTHCHECK')}"
    wanted = re.search(r'(?m)^rust-version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text())
    if not version(image.images[0]) >= version(wanted[1]):
        yield f"{image.images[0]} is older than rust-version {wanted[1]}"
    if f"Rust {wanted[1]} or later" not in (REPOSITORY / "README.md").read_text():
        yield f"README.md does not ask for Rust {wanted[1]} or later, as rust-version does"
    # The C library is the one that the program was linked with, and there is nothing else that could be run.
    if image.images[-1] != "scratch" or "$(ldd target/release/proxyxai" not in image.layout[1]:
        yield f"the image is made from {image.images[-1]}, not of what its layout names and `ldd` finds"
    for copied in image.copies:
        if not copied.startswith("--from=build "):
            yield f"the image takes files from elsewhere: COPY {copied}"
    if not re.search(r":\d", image.images[0]):
        yield f"{image.images[0]} is no version"
    for path in image.copied:
        if not (REPOSITORY / path).exists():
            yield f"Dockerfile copies {path}, which does not exist"


def layout_problems(image: Dockerfile, program: pathlib.Path):
    """The files that the image has are all that the program needs."""
    needed = ("/etc/debian_version", "/usr/share/zoneinfo/UTC", "/etc/ssl/certs/ca-certificates.crt")
    if os.geteuid() != 0 or not all(map(os.path.exists, needed)):
        print("NOT CHECKED: the files of the image, which takes root on Debian with ca-certificates and tzdata")
        return
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        root.chmod(0o755)
        layout = image.layout[1].replace("/image", folder).replace("target/release/proxyxai", shlex.quote(str(program)))
        layout = re.sub(r" /data$", f" {folder}/data", layout)
        done = subprocess.run(["sh", "-c", layout], capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False)
        if done.returncode != 0:
            yield f"the layout of the image fails: {done.stderr[:300]}"
            return
        os.chown(root / "data", *map(int, USER.split(":")))
        for file in ("etc/ssl/certs/ca-certificates.crt", "etc/passwd", "usr/share/doc/libc6/copyright"):
            if not (root / file).is_file():
                yield f"the image lacks {file}"
        runnable = [path for path in root.rglob("*bin/*") if path.is_file()]
        if runnable != [root / "usr/local/bin/proxyxai"]:
            yield f"the image has programs besides ours: {runnable}"
        yield from start_problems(root, image)


def start_problems(root: pathlib.Path, image: Dockerfile):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # A zone that has to be read from a file.
    env = image.env | {"PORT": port, "GRPC_LISTEN": "127.0.0.1:0", "TZ": "Asia/Kolkata"}
    inside = ["/usr/sbin/chroot", f"--userspec={USER}", str(root), "/usr/local/bin/proxyxai"]
    server = subprocess.Popen(inside, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + START_SECONDS_MAX
        while subprocess.run([*inside, "healthcheck"], env=env, capture_output=True, check=False).returncode != 0:
            if server.poll() is not None or time.monotonic() > until:
                server.kill()
                yield f"the program does not start in its image: {server.communicate()[0][:500]}"
                return
            time.sleep(0.1)
        server.terminate()
        said = server.communicate(timeout=START_SECONDS_MAX)[0]
        if server.returncode != 0:
            yield f"the program ends with {server.returncode} in its image: {said[:500]}"
    finally:
        server.kill()
        server.wait()


def service_problems(name: str, service: dict, image: Dockerfile, known: dict[str, str], compose: dict):
    environment = service.get("environment", {})
    for variable, value in environment.items():
        if variable not in known and not variable.startswith(tuple(further(known))):
            yield f"{name} sets {variable}, which the program does not know"
        if variable.startswith("CONTROL_") and value is not None:
            port = GRPC_PORT if variable == "CONTROL_GRPC" else HTTP_PORT
            url = urllib.parse.urlsplit(value)
            meant = [each for other, each in compose["services"].items() if url.hostname in names(other, each)]
            if not meant or any(each.get("command") != ["control"] for each in meant) or str(url.port) != port:
                yield f"{name}: {variable}={value} is not where control listens"
    for port in service.get("ports", []):
        if port.split(":")[-1] not in image.words("EXPOSE"):
            yield f"{name} publishes {port}, which the image does not expose"
    mounts = [volume.split(":")[1] for volume in service.get("volumes", [])]
    if mounts != image.words("VOLUME"):
        yield f"{name} keeps {mounts}, the image's data are in {image.words('VOLUME')}"
    if "dataplane" in service.get("command", []) and not environment.get("NODE_NAME"):
        yield f"{name} has no NODE_NAME"
    yield from confinement_problems(name, service)
    spent = sum(int(defaults(known)[variable]) for variable in ("DRAIN_DELAY_MS", "DRAIN_TIMEOUT_MS")) / 1000
    if seconds(service.get("stop_grace_period", "10s")) < spent + STOP_SECONDS_MAX:
        yield f"{name} is killed before it has drained ({spent} s) and handed in ({STOP_SECONDS_MAX} s)"


def names(name: str, service: dict) -> set[str]:
    """Names under which a service is found by the others."""
    return {name, *(alias for network in service.get("networks", {}).values() for alias in network.get("aliases", []))}


def confinement_problems(name: str, service: dict):
    wanted = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    for key, value in wanted.items():
        if service.get(key) != value:
            yield f"{name} has {key}: {service.get(key)}"


def handing_problems(file: str, name: str, service: dict, known: dict[str, str]):
    """Every variable that a service reads is handed through, and no other."""
    environment = service.get("environment", {})
    kept = NOT_HANDED if file == ALONE else IN_FLEET
    mine = READERS["".join(service.get("command", []))]
    read = {variable for variable, row in known.items() if mine & set(readers(row).split(", "))}
    for variable in sorted(read - set(kept) - set(environment)):
        yield f"{file}: {name} does not hand {variable} through"
    for variable in sorted(set(environment) & (set(known) - read | set(kept))):
        yield f"{file}: {name} has {variable}, which {kept.get(variable, 'it does not read')}"
    if "dataplane" in mine:
        for variable in sorted(further(known)):
            if not any(given.startswith(variable) for given in environment):
                yield f"{file}: {name} does not hand {variable} through"
    for variable, value in environment.items():
        if value is not None and (file == ALONE or variable not in SET):
            yield f"{file}: {name} sets {variable} instead of handing it through"


def compose_problems(file: str, compose: dict):
    services = compose["services"]
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if variable in SECRETS and value is not None and not str(value).startswith("${"):
                yield f"{file}: {name}: the secret {variable} stands in the file"
        plain = [other for other in services.values() if not other.get("profiles")]
        if service.get("profiles") and not required(service) <= set().union(*map(required, plain)):
            yield f"{file}: {name} has a profile: a variable that it alone requires would stop all others"
        for other in service.get("depends_on", {}):
            if other not in services:
                yield f"{file}: {name} depends on {other}, which is not there"
        options = service.get("logging", {}).get("options", {})
        if not {"max-size", "max-file"} <= set(options):
            yield f"{file}: the log of {name} grows without an end"
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    if sorted(mounted) != sorted(compose["volumes"]):
        yield f"{file}: volumes declared: {sorted(compose['volumes'])}; used, each by one service: {sorted(mounted)}"
    hosts = [port.rpartition(":")[0].rpartition(":")[2] for s in services.values() for port in s.get("ports", [])]
    if len(set(hosts)) != len(hosts):
        yield f"{file}: a port of the host is published twice: {sorted(hosts)}"
    wanted = {ALONE: {"proxyxai"}, FLEET: {"control", "control-2", "dataplane-a", "dataplane-b", "postgres"}}[file]
    if set(services) != wanted:
        yield f"{file} starts {sorted(services)}"


def required(service: dict) -> set[str]:
    """Variables without which compose starts nothing."""
    return set(re.findall(r"\$\{(\w+):?\?", str(service)))


def secret_problems(fleet: dict):
    """What the fleet cannot do without is asked for, in words that say how to make it."""
    for name, variable, source in (
        ("control", "NODE_TOKEN", "NODE_TOKEN"),
        ("control-2", "NODE_TOKEN", "NODE_TOKEN"),
        ("dataplane-a", "NODE_TOKEN", "NODE_TOKEN"),
        ("dataplane-b", "NODE_TOKEN", "NODE_TOKEN"),
        ("control", "DATABASE_PASSWORD", "POSTGRES_PASSWORD"),
        ("postgres", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD"),
    ):
        value = str(fleet["services"][name]["environment"].get(variable))
        if not re.fullmatch(rf"\$\{{{source}:\?make one with openssl rand -hex 32 [^${{}}]+\}}", value):
            yield f"{FLEET}: {name} does not say how to make {variable}: {value}"


def ignored_problems():
    """What must not get into an image, nor into the repository."""
    for file, entries in ((".dockerignore", {".env", ".git", "data", "**/target"}), (".gitignore", {".env", "target/", "/data/"})):
        for entry in sorted(entries - set((REPOSITORY / file).read_text().splitlines())):
            yield f"{file} lets {entry} in"


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", str(text))[1])


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
    files = {file: yaml.safe_load((REPOSITORY / file).read_text()) for file in (ALONE, FLEET)}
    known = known_variables(program)

    problems = [*dockerfile_problems(image, known), *secret_problems(files[FLEET]), *ignored_problems()]
    commands = {"healthcheck"}
    for file, compose in files.items():
        problems += compose_problems(file, compose)
        ours = {name: service for name, service in compose["services"].items() if service["image"] == "proxyxai"}
        for name, service in ours.items():
            commands |= set(service.get("command", []))
            problems += service_problems(name, service, image, known, compose)
            problems += handing_problems(file, name, service, known)
    problems += program_problems(program, commands)
    problems += layout_problems(image, program)
    for problem in problems:
        print(f"FAIL  {problem}")
    if not problems:
        count = sum(len(compose["services"]) for compose in files.values())
        print(f"ok    Dockerfile and {count} services agree with the program")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
