#!/usr/bin/env python3
"""The files of deploy/ are what their readers accept, agree with the program, and with docs/.

- The Helm chart is linted and rendered by Helm's own code (the wheel helm-python-sdk), with its defaults and with everything
  changed; what comes out is held against the schemas of Kubernetes, of the oldest version that the chart admits and of the
  newest known, and against what this file says of it. No cluster ever sees it: neither volumes, nor the network policies, nor
  the autoscaler at work are checked.
- The systemd units are held against `systemd-analyze verify` and `systemd-analyze security`. No systemd starts them.
- nginx and Caddy read their examples and serve a gateway by them, on other ports; docs/reverse-proxy.md shows the same ones.

A tool that is missing is named as NOT CHECKED; systemd and nginx are not installed for this.
"""

import argparse
import importlib.util
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import helm_python
import kubernetes_validate
import trustme
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent


def load(file: str):
    """A test beside this folder. Not by `import`: a package has the same name."""
    spec = importlib.util.spec_from_file_location("proxyxai_" + pathlib.Path(file).stem, REPOSITORY / "tests" / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


packaging = load("packaging.py")
DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm/proxyxai"
KUBERNETES = ("1.30", "1.37")
RELEASE, NAMESPACE, SECRET = "demo", "gateway", "proxyxai"
# With a second set of values each switch is the other way round.
VALUES = {
    "defaults": {"secretName": SECRET, "trustedProxies": "10.0.0.0/8"},
    "everything else": {
        "secretName": SECRET,
        "image": {"repository": "registry.example.com/proxyxai", "tag": "1.2.3"},
        "imagePullSecrets": [{"name": "registry"}],
        "control": {"replicas": 3, "drainTimeoutSeconds": 60, "env": {"COMMISSION_PERCENT": 5, "UNPRICED": "serve"}},
        "dataplane": {
            "replicas": 4,
            "drainDelaySeconds": 20,
            "drainTimeoutSeconds": 600,
            "env": {"LOG_FORMAT": "json", "OPEN_CALLS_MAX": 20000},
            "storage": {"className": "fast"},
            "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
        },
        "autoscaling": {"enabled": False},
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    },
    "by open calls, without policies": {
        "secretName": SECRET,
        "autoscaling": {"openCalls": 500},
        "networkPolicy": {"enabled": False},
    },
}
# What a chart must not take: no secret, a misspelt value, a variable that is none, numbers out of range.
REFUSED = (
    {},
    {"secretName": SECRET, "replicas": 3},
    {"secretName": SECRET, "control": {"env": {"not-a-name": "1"}}},
    {"secretName": SECRET, "control": {"replicas": 0}},
    {"secretName": SECRET, "dataplane": {"drainTimeoutSeconds": 0}},
)
# Variables that a Secret holds, by role.
HELD = {"control": {"DATABASE_URL", "MASTER_KEY", "NODE_TOKEN", "INIT_USERS"}, "dataplane": {"NODE_TOKEN"}}
UNITS = {"proxyxai.service": "", "proxyxai-control.service": "control", "proxyxai-dataplane.service": "dataplane"}
# In tenths of `systemd-analyze security`, of which 100 is a service that may do anything.
EXPOSURE_MAX = 15
SECONDS_MAX = 60
START_SECONDS_MAX = 15


def variables(known: dict[str, str], role: str) -> set[str]:
    mine = packaging.READERS[role]
    return {name for name, row in known.items() if mine & set(packaging.readers(row).split(", "))}


# === the chart ===


def chart_problems(known: dict[str, str]):
    for message in helm_python.lint(str(CHART))["messages"]:
        if message["severity"] > 1:
            yield f"helm lint: {message}"
    version = re.search(r'(?m)^version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text())[1]
    with helm_python.Chart.load(str(CHART)) as chart:
        if yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] != version:
            yield f"the chart's appVersion is not {version}, the program's"
        for values in REFUSED:
            try:
                chart.render(values, name=RELEASE, namespace=NAMESPACE)
                yield f"the chart takes {values}"
            except helm_python.HelmError:
                pass
        for name, values in VALUES.items():
            files = chart.render(values, name=RELEASE, namespace=NAMESPACE)
            texts = [text for file, text in files.items() if file.endswith(".yaml")]
            objects = [one for text in texts for one in yaml.safe_load_all(text) if one]
            merged = chart.merge_values(values)
            for problem in [*schema_problems(objects), *object_problems(objects, merged, known)]:
                yield f"the chart, {name}: {problem}"


def schema_problems(objects: list[dict]):
    for one in objects:
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{one['kind']} {one['metadata']['name']} in Kubernetes {version}: {error.message} at {list(error.path)}"


def object_problems(objects: list[dict], values: dict, known: dict[str, str]):
    by_kind = {kind: {one["metadata"]["name"]: one for one in objects if one["kind"] == kind} for kind in {o["kind"] for o in objects}}
    control, dataplane = f"{RELEASE}-control", f"{RELEASE}-dataplane"
    pods = {
        "control": by_kind["Deployment"][control]["spec"],
        "dataplane": by_kind["StatefulSet"][dataplane]["spec"],
    }
    services = by_kind["Service"]
    for role, spec in pods.items():
        yield from pod_problems(role, spec, values[role], known)
    for name, service in services.items():
        matched = [spec for spec in pods.values() if selects(service["spec"]["selector"], spec)]
        ports = {port["targetPort"] for port in service["spec"]["ports"]}
        if len(matched) != 1 or not ports <= set(ports_of(matched[0])):
            yield f"service {name} leads to {len(matched)} roles, to ports {ports}"
        elif any(ports_of(matched[0])[port["targetPort"]] != port["port"] for port in service["spec"]["ports"]):
            yield f"service {name} renumbers ports"
    env = env_of(pods["dataplane"])
    for variable, service, port in (("CONTROL_GRPC", f"{control}-grpc", "grpc"), ("CONTROL_HTTP", control, "http")):
        number = ports_of(pods["control"])[port]
        if env[variable] != f"http://{service}:{number}" or not selects(services[service]["spec"]["selector"], pods["control"]):
            yield f"{variable} is {env[variable]}"
    if services[f"{control}-grpc"]["spec"].get("clusterIP") != "None":
        yield "the name in CONTROL_GRPC has one address for all replicas"
    if pods["dataplane"]["serviceName"] not in services:
        yield f"the StatefulSet's service {pods['dataplane']['serviceName']} is not there"
    for name, budget in by_kind["PodDisruptionBudget"].items():
        if sum(selects(budget["spec"]["selector"]["matchLabels"], spec) for spec in pods.values()) != 1:
            yield f"the budget {name} is not for one role"
    yield from scaling_problems(by_kind, pods, values)
    yield from policy_problems(by_kind.get("NetworkPolicy", {}), pods, values)


def selects(selector: dict, spec: dict) -> bool:
    return selector.items() <= spec["template"]["metadata"]["labels"].items()


def container_of(spec: dict) -> dict:
    return spec["template"]["spec"]["containers"][0]


def ports_of(spec: dict) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container_of(spec)["ports"]}


def env_of(spec: dict) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container_of(spec)["env"]}


def pod_problems(role: str, spec: dict, values: dict, known: dict[str, str]):
    pod, container = spec["template"]["spec"], container_of(spec)
    if container["args"] != [role] or "command" in container:
        yield f"{role} runs {container.get('command')} {container['args']}"
    named = [each["name"] for each in container["env"]]
    for name in sorted({name for name in named if named.count(name) > 1}):
        yield f"{role} has {name} twice"
    for name in sorted(set(named) - variables(known, role)):
        yield f"{role} has {name}, which it does not read"
    yield from secret_problems(role, spec)

    user = int(packaging.USER.split(":")[0])
    wanted = {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user, "seccompProfile": {"type": "RuntimeDefault"}}
    if not wanted.items() <= pod["securityContext"].items():
        yield f"{role}'s pods run as {pod['securityContext']}"
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    if container["securityContext"] != wanted:
        yield f"{role}'s container may {container['securityContext']}"
    if pod["automountServiceAccountToken"] is not False or pod["enableServiceLinks"] is not False:
        yield f"{role}'s pods are told of Kubernetes"

    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        if container[probe]["httpGet"] != {"path": path, "port": "http"}:
            yield f"{role}'s {probe} asks {container[probe]['httpGet']}"
    for port, variable in (("http", "PORT"), ("grpc", "GRPC_PORT")):
        if ports_of(spec).get(port, int(packaging.defaults(known)[variable])) != int(packaging.defaults(known)[variable]):
            yield f"{role}'s port {port} is {ports_of(spec)[port]}"

    env = env_of(spec)
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    spent = pause + (int(env.get("DRAIN_DELAY_MS", 0)) + int(env["DRAIN_TIMEOUT_MS"])) / 1000
    if pod["terminationGracePeriodSeconds"] < spent + packaging.STOP_SECONDS_MAX:
        yield f"{role} is killed after {pod['terminationGracePeriodSeconds']} s, before it has drained ({spent} s) and handed in"
    if int(env["DRAIN_TIMEOUT_MS"]) != values["drainTimeoutSeconds"] * 1000:
        yield f"{role} drains for {env['DRAIN_TIMEOUT_MS']} ms"

    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
    kept = mounts["/data"] in claims
    if kept != (role == "dataplane"):
        yield f"{role}'s data {'survive' if kept else 'do not survive'} a restart"
    if role == "dataplane" and next(e for e in container["env"] if e["name"] == "NODE_NAME").get("valueFrom") != {
        "fieldRef": {"fieldPath": "metadata.name"}
    }:
        yield "NODE_NAME is not the pod's"
    if kept and set(spec.get("persistentVolumeClaimRetentionPolicy", {}).values()) != {"Retain"}:
        yield "usage goes with the pod that spooled it"


def secret_problems(role: str, spec: dict):
    """Secrets are files of the Secret that was named, and each role sees its own alone."""
    env = env_of(spec)
    for name in sorted(packaging.SECRETS & set(env)):
        yield f"{role} has the secret {name} in its environment"
    volumes = [volume["secret"] for volume in spec["template"]["spec"]["volumes"] if "secret" in volume]
    if [volume["secretName"] for volume in volumes] != [SECRET]:
        yield f"{role} mounts {volumes}"
        return
    if {item["key"] for item in volumes[0].get("items", [])} != HELD[role]:
        yield f"{role} sees {volumes[0].get('items')}"
    for item in volumes[0].get("items", []):
        if env.get(f"{item['key']}_FILE") != f"/secrets/{item['path']}":
            yield f"{role} does not read {item['key']} from its file"


def scaling_problems(by_kind: dict, pods: dict, values: dict):
    scalers = by_kind.get("HorizontalPodAutoscaler", {})
    if bool(scalers) != values["autoscaling"]["enabled"] or bool(scalers) == ("replicas" in pods["dataplane"]):
        yield "replicas of the data planes are set by two, or by nobody"
    for scaler in scalers.values():
        target = scaler["spec"]["scaleTargetRef"]
        if target["name"] not in by_kind.get(target["kind"], {}):
            yield f"the autoscaler scales {target}"
        metric = scaler["spec"]["metrics"][0]
        calls = values["autoscaling"]["openCalls"]
        if calls and metric["pods"]["metric"]["name"] != "proxyxai_open_calls" or not calls and metric["resource"]["name"] != "cpu":
            yield f"the autoscaler looks at {metric}"
    if "cpu" not in values["dataplane"]["resources"]["requests"]:
        yield "a share of CPU means nothing without a request"


def policy_problems(policies: dict, pods: dict, values: dict):
    if bool(policies) != values["networkPolicy"]["enabled"]:
        yield f"network policies: {sorted(policies)}"
        return
    for role in pods if policies else ():
        rules = [p["spec"] for p in policies.values() if selects(p["spec"]["podSelector"]["matchLabels"], pods[role])]
        if len(rules) != 1 or rules[0]["policyTypes"] != ["Ingress"]:
            yield f"{role} has {len(rules)} network policies"
            continue
        for rule in rules[0]["ingress"]:
            ports = {port["port"] for port in rule["ports"]}
            if not ports <= set(ports_of(pods[role])):
                yield f"a policy of {role} names ports {ports}"
            peers = rule.get("from")
            if role == "control":
                selected = [peer["podSelector"]["matchLabels"] for peer in peers or [] if set(peer) == {"podSelector"}]
                if len(selected) != len(peers or [0]) or any(selects(s, pods["control"]) or not selects(s, pods["dataplane"]) for s in selected):
                    yield f"control is reached by {peers}"
            elif "metrics" in ports and peers != values["networkPolicy"]["metricsFrom"]:
                yield f"metrics are read by {peers}"


# === systemd ===


def unit_problems(program: pathlib.Path, known: dict[str, str]):
    present = {path.name for path in (DEPLOY / "systemd").glob("*.service")}
    if present != set(UNITS):
        yield f"deploy/systemd has {sorted(present)}"
    drain = sum(int(packaging.defaults(known)[name]) for name in ("DRAIN_DELAY_MS", "DRAIN_TIMEOUT_MS")) / 1000
    files = 2 * int(packaging.defaults(known)["CONNECTIONS_MAX"])
    for name, role in UNITS.items():
        text = (DEPLOY / "systemd" / name).read_text()
        lines = re.findall(r"(?m)^(\w+)=(.*)$", text)
        settings = dict(lines)
        state = name.removesuffix(".service")
        wanted = {
            "ExecStart": f"/usr/local/bin/proxyxai {role}".rstrip(),
            "StateDirectory": state,
            "Environment": f"DATA_DIR=/var/lib/{state}",
            "KillSignal": "SIGTERM",
            "RestartPreventExitStatus": "64",
            "User": "proxyxai",
        }
        for key, value in wanted.items():
            if settings.get(key) != value:
                yield f"{name}: {key}={settings.get(key)}, not {value}"
        if settings["EnvironmentFile"].removeprefix("-") != f"/etc/proxyxai/{state}.env":
            yield f"{name} reads {settings['EnvironmentFile']}"
        if int(settings["TimeoutStopSec"]) < drain + packaging.STOP_SECONDS_MAX:
            yield f"{name} is killed before it has drained ({drain} s) and handed in"
        if int(settings["LimitNOFILE"]) < files:
            yield f"{name} may open {settings['LimitNOFILE']} files, fewer than {files}"
    users = (DEPLOY / "systemd/sysusers.conf").read_text()
    if not re.search(r"(?m)^u proxyxai ", users):
        yield "deploy/systemd/sysusers.conf does not make the units' user"
    if not shutil.which("systemd-analyze"):
        print("NOT CHECKED: the units by systemd-analyze, which is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in UNITS:
            unit = pathlib.Path(folder) / name
            # It asks for the program, too, which is installed nowhere.
            unit.write_text((DEPLOY / "systemd" / name).read_text().replace("/usr/local/bin/proxyxai", str(program)))
            done = run("systemd-analyze", "verify", "--man=no", unit)
            if done.returncode != 0 or name in done.stderr:
                yield f"systemd-analyze verify {name}: {done.stderr[:500]}"
            done = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", unit)
            if done.returncode != 0:
                yield f"systemd-analyze security {name}: {(done.stdout + done.stderr).strip().splitlines()[-1]}"


# === what stands in front ===


def front_problems(program: pathlib.Path, caddy: pathlib.Path):
    page = (REPOSITORY / "docs/reverse-proxy.md").read_text()
    shown = {language: text for language, text in re.findall(r"(?ms)^```(nginx|caddy)\n(.*?)^```$", page)}
    nginx_file, caddy_file = DEPLOY / "nginx/proxyxai.conf", DEPLOY / "caddy/Caddyfile"
    for language, file in (("nginx", nginx_file), ("caddy", caddy_file)):
        if shown.get(language) != file.read_text():
            yield f"docs/reverse-proxy.md shows another {language} example than {file.relative_to(REPOSITORY)}"
    with tempfile.TemporaryDirectory() as folder, Gateway(program, pathlib.Path(folder)) as gateway:
        folder = pathlib.Path(folder)
        if shutil.which("nginx"):
            yield from nginx_problems(nginx_file.read_text(), folder, gateway.port)
        else:
            print("NOT CHECKED: the example of nginx, which is not installed")
        if caddy.exists():
            yield from caddy_problems(caddy, caddy_file, folder, gateway.port)
        else:
            print("NOT CHECKED: the example of Caddy, which is not installed")


class Gateway:
    """Both planes in one process, while it is entered."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path) -> None:
        self.port = free_port()
        env = {"LISTEN": f"127.0.0.1:{self.port}", "GRPC_PORT": "0", "DATA_DIR": str(folder / "data"), "TRUSTED_PROXIES": "127.0.0.1"}
        self._command, self._env = [str(program)], env

    def __enter__(self):
        self._process = start(self._command, env=self._env)
        if not answers(f"http://127.0.0.1:{self.port}/readyz", 200):
            self.__exit__()
            sys.exit("FAIL  the gateway does not start")
        return self

    def __exit__(self, *_) -> None:
        end(self._process)


def nginx_problems(example: str, folder: pathlib.Path, gateway: int):
    """It takes the file, and serves the gateway by it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "api.example.com")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    for old, new in (
        ("/etc/ssl/example.com.pem", f"{folder}/cert.pem"),
        ("/etc/ssl/example.com.key", f"{folder}/key.pem"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server 127.0.0.1:3443;", f"server 127.0.0.1:{gateway};"),
    ):
        if old not in example:
            yield f"deploy/nginx/proxyxai.conf has no {old}"
        example = example.replace(old, new)
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(f"pid {folder}/pid;\ndaemon off;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{example}\n}}\n")
    command = ["nginx", "-p", str(folder), "-e", f"{folder}/nginx.log", "-c", str(config)]
    done = run(*command, "-t")
    said = done.stderr + "".join(path.read_text() for path in [folder / "nginx.log"] if path.exists())
    if done.returncode != 0 or "[warn]" in said:
        yield f"nginx -t: {said[:500]}"
        return
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    yield from serving_problems("nginx", command, f"https://127.0.0.1:{port}", trust)


def caddy_problems(caddy: pathlib.Path, file: pathlib.Path, folder: pathlib.Path, gateway: int):
    """It takes the file, and serves the gateway by it, though without a certificate, which it would have to be given."""
    done = run(caddy, "validate", "--adapter", "caddyfile", "--config", file)
    if done.returncode != 0:
        yield f"caddy validate: {done.stderr[-500:]}"
        return
    text = file.read_text()
    if run(caddy, "fmt", file).stdout != text:
        yield "caddy fmt would write deploy/caddy/Caddyfile another way"
    port = free_port()
    config = folder / "Caddyfile"
    changed = text.replace("api.example.com {", f"http://127.0.0.1:{port} {{").replace("127.0.0.1:3443", f"127.0.0.1:{gateway}")
    config.write_text("{\n\tadmin off\n}\n" + changed)
    command = [str(caddy), "run", "--adapter", "caddyfile", "--config", str(config)]
    yield from serving_problems("caddy", command, f"http://127.0.0.1:{port}", None)


def serving_problems(name: str, command: list[str], origin: str, trust: ssl.SSLContext | None):
    server = start(command, env=os.environ | {"HOME": tempfile.gettempdir()})
    try:
        for path, status in (("/readyz", 200), ("/v1/models", 401), ("/metrics", 404)):
            if not answers(origin + path, status, trust):
                yield f"{name} does not answer {status} at {path}"
    finally:
        end(server)


def answers(url: str, status: int, trust: ssl.SSLContext | None = None) -> bool:
    """Whether it answers so, soon."""
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=START_SECONDS_MAX, context=trust) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        except OSError:
            found = None
        if found == status:
            return True
        time.sleep(0.1)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: list[str], env: dict[str, str]) -> subprocess.Popen:
    silent = subprocess.DEVNULL
    return subprocess.Popen(command, env=env, stdin=silent, stdout=silent, stderr=silent)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(*command) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )


def main() -> int:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--gateway", type=pathlib.Path, default=REPOSITORY / "target/debug/proxyxai")
    program = about.parse_args().gateway.resolve()
    known = packaging.known_variables(program)
    caddy = pathlib.Path(sys.executable).parent / "caddy"
    problems = [*chart_problems(known), *unit_problems(program, known), *front_problems(program, caddy)]
    for problem in problems:
        print(f"FAIL  {problem}")
    if not problems:
        print(f"ok    the chart in {len(VALUES)} ways, {len(UNITS)} units, nginx and Caddy")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
