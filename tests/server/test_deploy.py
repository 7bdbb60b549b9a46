"""The Dockerfile, the Kubernetes manifest and the systemd unit: checked by their own rules, and the
Dockerfile's commands run as they stand, in another root."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import kubernetes_validate
import pytest
import yaml
from absl import flags

from ptts_jax import bundled, serve
from ptts_jax.server import app, metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "ptts_jax" / "server" / "deploy"
ROUTES = Path(app.__file__).read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order: (name, what follows)."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def known_flags() -> set[str]:
    values = flags.FlagValues()
    serve._define(values)
    return set(values)


def check_flags(arguments: list[str]) -> None:
    named = {a.removeprefix("--").partition("=")[0] for a in arguments if a.startswith("--")}
    assert named <= known_flags(), "flags that the server does not know"


# The Dockerfile.


def test_the_dockerfile_keeps_the_usual_rules():
    found = instructions()
    names = [name for name, _ in found]
    assert "ADD" not in names and names.count("FROM") == 2
    for name, rest in found:
        if name == "FROM":
            image = rest.split()[0]
            assert re.search(r":\d", image), f"{image}: a version, and not latest"
        if name in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list), "no shell between us and signals"
        if name == "RUN":
            assert "sudo" not in rest and "curl" not in rest
            if "apt-get install" in rest:
                assert "--no-install-recommends" in rest and "rm -rf /var/lib/apt/lists" in rest
                assert rest.startswith("apt-get update")
            if "pip install" in rest:
                assert "--no-cache-dir" in rest
    last = dict(found[len(names) - names[::-1].index("FROM") :])
    assert last["USER"] == "ptts" and names[-1] == "ENTRYPOINT"
    start = json.loads(last["ENTRYPOINT"])
    assert start[:3] == ["python", "-m", "ptts_jax.serve"]
    check_flags(start[3:])
    assert "/health" in last["HEALTHCHECK"] and "apt-get" not in str(last)


def run_as_in_docker(root: Path) -> tuple[list[str], dict[str, str]]:
    """Does in a folder what the instructions say, and returns what would be started, and how."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PTTS_JAX_CACHE")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    entry: list[str] = []
    here = root

    def placed(text: str) -> str:
        return re.sub(r"(?<![\w/.])/(?=opt/|src|models|voices)", f"{root}/", text)

    for name, rest in instructions():
        if name == "WORKDIR":
            here = Path(placed(rest))
            here.mkdir(parents=True)
        elif name == "COPY" and rest == ". .":
            kept = shutil.ignore_patterns(*(DEPLOY / "Dockerfile.dockerignore").read_text().split())
            shutil.copytree(ROOT, here, ignore=kept, dirs_exist_ok=True)
        elif name == "ENV":
            for pair in shlex.split(rest):
                key, _, value = placed(pair).partition("=")
                env[key] = value.replace("$PATH", env["PATH"])
        elif name == "RUN" and re.match("apt-get|useradd", rest):
            for folder in re.findall(r"install -d -o ptts (.*)", rest):
                for each in folder.split():
                    Path(placed(each)).mkdir()
        elif name == "RUN":
            subprocess.run(["sh", "-ec", placed(rest)], cwd=here, env=env, check=True, timeout=900)
        elif name == "ENTRYPOINT":
            entry = [placed(word) for word in json.loads(rest)]
    return entry, env


@contextlib.contextmanager
def started(command: list[str], **more) -> Iterator[str]:
    """Where a server listens that ends in order with the block."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)
    try:
        lines = iter(process.stderr.readline, "")
        yield next(found[1] for line in lines if (found := re.search(r"http://[^:]+:(\d+)", line)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.skipif(not bundled.available(), reason="a copy without the model")
def test_the_commands_of_the_dockerfile_make_a_server_that_speaks(tmp_path):
    command, env = run_as_in_docker(tmp_path)
    assert (tmp_path / "opt/ptts/cache/int8").is_dir(), "the kernels are in the image"
    env |= {"PTTS_API_KEY": "secret", "HF_HUB_OFFLINE": "1"}
    with started([*command, "--port=0"], cwd=tmp_path, env=env) as port:
        address, key = f"http://127.0.0.1:{port}", {"Authorization": "Bearer secret"}
        with httpx.Client(base_url=address, timeout=60, trust_env=False, headers=key) as client:
            ends = time.monotonic() + 300
            while client.get("/ready").status_code != 200:
                assert time.monotonic() < ends
                time.sleep(0.2)
            body = {"input": "From a box.", "response_format": "wav"}
            assert len(client.post("/v1/audio/speech", json=body).content) > 16_000
            assert httpx.get(f"{address}/metrics", trust_env=False).status_code == 401


# Kubernetes.


@pytest.fixture(scope="module")
def manifest() -> dict[str, dict]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def test_the_manifest_fits_the_schemas_of_kubernetes(manifest):
    assert manifest.keys() == {
        *("Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ConfigMap")
    }
    for document in manifest.values():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    broken = json.loads(json.dumps(manifest["Deployment"]).replace("httpGet", "httpGot"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_manifest_fits_the_server_and_itself(manifest):
    deployment = manifest["Deployment"]
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert manifest[kind]["spec"]["selector"]["matchLabels"] == labels
    assert manifest["Service"]["spec"]["selector"] == labels
    assert container["ports"][0]["containerPort"] == known_default("port")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'Route("{container[probe]["httpGet"]["path"]}"' in ROUTES
    check_flags(container["args"])
    drain = int(container["args"][0].partition("=")[2])
    assert drain < pod["spec"]["terminationGracePeriodSeconds"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}
    scaler = manifest["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    [rule] = yaml.safe_load(manifest["ConfigMap"]["data"]["config.yaml"])["rules"]
    assert rule["name"]["as"] == scaler["metrics"][0]["pods"]["metric"]["name"]
    asked = re.findall(r"(ptts_\w+?)_(?:sum|count)\b", rule["metricsQuery"])
    assert asked and set(asked) <= metrics._HELP.keys()


def known_default(name: str) -> int:
    values = flags.FlagValues()
    serve._define(values)
    return values[name].default


# systemd.


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = (DEPLOY / "ptts-jax.service").read_text(encoding="utf-8")
    [start] = re.findall(r"^ExecStart=(\S+) (.*)$", unit, re.M)
    assert start[1].split()[:2] == ["-m", "ptts_jax.serve"]
    check_flags(start[1].split()[2:])
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd here")
    copy = tmp_path / "ptts-jax.service"  # what it starts must exist
    copy.write_text(unit.replace(start[0], sys.executable))
    for command in (["verify"], ["security", "--offline=yes", "--threshold=30"]):
        asked = ["systemd-analyze", *command, str(copy)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert command != ["verify"] or "ptts-jax" not in done.stdout + done.stderr
    copy.write_text(copy.read_text().replace("Type=exec", "Typ=exec"))
    asked = ["systemd-analyze", "verify", str(copy)]
    assert "Typ" in subprocess.run(asked, capture_output=True, text=True, timeout=60).stderr
