"""The examples for many machines: what they run exists, with the options that they name."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser
from typer.main import get_command

from bitlm_mcp.cli import app
from bitlm_mcp.compute.launch import FRESH_STORE, line_for_others, torchrun
from bitlm_mcp.compute.processes import Processes

EXAMPLES = Path(__file__).parents[1] / "examples" / "cluster"


def checked(line: list[str]) -> tuple[Any, dict[str, Any]]:
    """What torchrun and bitlm understand of a line of arguments; options that one of them does not have end the test."""
    told = get_args_parser().parse_args(line)
    assert told.module and told.training_script == "bitlm_mcp"
    name, *arguments = told.training_script_args
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    return told, command.make_context(name, arguments, obj={}).params


def in_slurm() -> list[str]:
    """The arguments of torchrun in the batch script, with its variables as a cluster of two machines has them."""
    script = (EXAMPLES / "slurm.sh").read_text()
    line = re.search(r"^srun torchrun \\\n((?:.*\\\n)*.*)$", script, re.MULTILINE)
    assert line is not None
    variables = {
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE:-1": "8",
        "head": "node0",
        "SLURM_JOB_ID": "7",
        "data": "d",
        "name": "n",
    }
    text = re.sub(r"\$\{?(\w+(?::-1)?)\}?", lambda found: variables[found[1]], line[1])
    return shlex.split(text.replace("\\\n", " "))


def container() -> dict[str, Any]:
    """What every pod of the manifest runs."""
    job = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))[1]
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def in_kubernetes() -> list[str]:
    assert container()["command"] == ["torchrun"]
    return list(container()["args"])


@pytest.mark.parametrize("line", [in_slurm, in_kubernetes])
def test_every_option_is_one_that_there_is(line: Any) -> None:
    told, asked = checked(line())
    assert (told.nnodes, told.nproc_per_node, told.max_restarts, told.rdzv_backend) == ("2", "8", 3, "c10d")
    assert told.rdzv_endpoint.endswith(":29400") and told.rdzv_id
    assert (asked["parallel"], asked["preset"], asked["force"]) == ("fsdp", "base", True) and asked["save_as"]


def test_the_batch_script_is_bash_and_the_manifest_names_what_it_has() -> None:
    assert subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=False).returncode == 0
    service, job = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    pods, spec = job["spec"]["template"]["spec"], job["spec"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert pods["subdomain"] == service["metadata"]["name"] and spec["completionMode"] == "Indexed"
    nodes = next(argument for argument in in_kubernetes() if argument.startswith("--nnodes="))
    assert spec["completions"] == spec["parallelism"] == int(nodes.removeprefix("--nnodes="))
    assert f"--uid {pods['securityContext']['fsGroup']} " in (EXAMPLES.parents[1] / "Dockerfile").read_text()
    mounted = {mount["name"] for mount in pods["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pods["volumes"]}


def test_both_start_as_the_launcher_does() -> None:
    name, value = FRESH_STORE.split("=")
    (container,) = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))[1]["spec"]["template"]["spec"][
        "containers"
    ]
    assert {"name": name, "value": value} in container["env"]
    assert f"export {FRESH_STORE}" in (EXAMPLES / "slurm.sh").read_text()


def test_torchrun_understands_the_launcher(tmp_path: Path) -> None:
    here = Processes(nproc=2, folder=tmp_path / "a run", max_restarts=5)
    told, asked = checked([*torchrun(here, "job-1"), "-m", "bitlm_mcp", "worker", "spec", "--with-launcher"])
    assert (told.nnodes, told.nproc_per_node, told.max_restarts, told.local_addr) == ("1", "2", 5, "127.0.0.1")
    assert (told.rdzv_endpoint, told.rdzv_conf) == (str(tmp_path / "a run" / "meeting"), "store_type=file")
    assert asked == {"spec": Path("spec"), "with_launcher": True}
    there = here.model_copy(update={"nodes": 3, "endpoint": "node0:29400"})
    environment, program, *line = shlex.split(line_for_others(there, "job-1"))
    assert (environment, program) == (FRESH_STORE, "torchrun")
    told, asked = checked(line)
    assert (told.nnodes, told.rdzv_endpoint, told.rdzv_conf) == ("3", "node0:29400", "")
    assert asked == {"spec": tmp_path / "a run" / "command.json", "with_launcher": False}
