"""The examples for Slurm and Kubernetes: checked by their own rules, and against the command."""

import json
import os
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from absl import flags

from ptts_jax.bulk import command

DEPLOY = Path(command.__file__).parent / "deploy"
# Of sbatch's options those that are used here, with what their values look like.
SBATCH = {
    "job-name": r"[\w-]+",
    "array": r"\d+-\d+",
    "ntasks": r"1",
    "cpus-per-task": r"\d+",
    "mem": r"\d+[MG]",
    "time": r"\d+:\d\d:\d\d",
    "requeue": r"",
    "signal": r"(TERM|INT)@\d+",
    "output": r"[\w.%-]+%A-%a\.log",
}


def check_command(arguments: list[str]) -> None:
    """The command understands its flags, and gets an input and a folder."""
    values = flags.FlagValues()
    command._define(values)
    assert len(command.command.parse(values, ["bulk", *arguments])) == 2


def test_the_slurm_array_is_a_script_that_starts_the_command(tmp_path):
    script = DEPLOY / "slurm.sh"
    text = script.read_text(encoding="utf-8")
    first, *_ = text.splitlines()
    assert first == "#!/bin/bash" and "set -euo pipefail" in text
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.M))
    for name, value in asked.items():
        assert re.fullmatch(SBATCH[name], value), f"--{name}={value}"
    # Directives behind a command are not read.
    assert text.rindex("#SBATCH") < text.index("set -euo")
    [usage] = re.findall(r"^# sbatch \S+ (.*)$", text, re.M)
    check_command(usage.split())
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/bash\nprintf "%s\\n" "$PTTS_JAX_CACHE" "$@"\n')
    fake.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": "/shared"}
    words = [*usage.split()[:-1], "a folder"]
    done = subprocess.run([script, *words], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    cache, bind, *program = done.stdout.splitlines()
    assert (cache, bind) == ("/shared/.ptts_jax", "--cpu-bind=cores")
    assert program == ["python", "-m", "ptts_jax.bulk", *words]


@pytest.fixture
def job() -> dict:
    return yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))


def test_the_kubernetes_job_fits_the_schema(job):
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    broken = json.loads(json.dumps(job).replace("completions", "completion"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_kubernetes_job_fits_the_command_and_itself(job):
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["command"] == ["python", "-m", "ptts_jax.bulk"]
    check_command(container["args"])
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] <= spec["completions"]
    assert pod["restartPolicy"] == "Never", "what a policy of failures needs"
    assert container["resources"]["requests"] == container["resources"]["limits"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    for path in container["args"][-2:]:
        assert path.startswith("/data/")
