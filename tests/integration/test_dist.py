"""What `make dist` builds can be used by anyone: packages in an empty environment, charts from their archives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster import programs

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
RELEASE = version("rochallor-worker")
IMAGES = "registry.example.com/team"

WITHOUT_EXTRAS = """
import asyncio
from rochallor_worker import InstanceStatus, Kafka, Registry, RestClient, Runner, StartError
from rochallor_worker.devengine import DevEngine

registry = Registry()
registry.handler("a")(lambda job: {"n": 1})
task = {"id": "task", "name": "Task", "type": "SERVICE_TASK", "jobType": "a", "nextStep": "end"}
definition = {"id": "d", "name": "D", "steps": [task, {"id": "end", "name": "End", "type": "END"}]}

async def main():
    async with DevEngine() as here, RestClient(here.url) as engine:
        await engine.upload_definition(definition)
        instance = await engine.start_instance("d", {})
        runner = Runner(engine, registry, worker_id="w")
        working = asyncio.create_task(runner.run())
        while (found := await engine.get_instance(instance.id)).status != InstanceStatus.COMPLETED:
            await asyncio.sleep(0.05)
        print(found.status.lower())
        runner.stop()
        await working
        try:
            Runner(engine, registry, worker_id="w", kafka=Kafka("kafka:9092"))
        except StartError as error:
            print(error)

try:
    from rochallor_worker import GrpcClient
except StartError as error:
    print(error)
asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command as in a shell without this environment's packages; return its output."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    done = subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run("make", "--silent", "dist", f"DIST={folder}", f"HELM={programs.tool('helm')}", f"IMAGES={IMAGES}")
    return folder


def test_everything_is_named_by_the_version(dist: Path) -> None:
    packages = {
        f"rochallor_{name}-{RELEASE}{end}"
        for name in ("worker", "operator")
        for end in ("-py3-none-any.whl", ".tar.gz")
    }
    charts = {f"rochallor-{name}-{RELEASE}.tgz" for name in ("worker", "operator")}
    assert {file.name for file in dist.iterdir()} == packages | charts


@pytest.mark.parametrize("name", ["worker", "operator"])
def test_a_package_has_all_of_its_source_and_nothing_else(dist: Path, name: str) -> None:
    source = ROOT / name / "src"
    ours = {
        str(file.relative_to(source))
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(dist / f"rochallor_{name}-{RELEASE}-py3-none-any.whl") as wheel:
        inside = {member.filename for member in wheel.infolist() if not member.is_dir()}
    assert _without(f"rochallor_{name}-{RELEASE}.dist-info", inside) == ours
    assert f"rochallor_{name}-{RELEASE}.dist-info/licenses/LICENSE" in inside
    with tarfile.open(dist / f"rochallor_{name}-{RELEASE}.tar.gz") as sdist:
        files = [member.name for member in sdist.getmembers() if member.isfile()]
        inside = {file.removeprefix(f"rochallor_{name}-{RELEASE}/") for file in files}
    assert {file.removeprefix("src/") for file in inside if file.startswith("src/")} == ours
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= inside


def _without(folder: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith(f"{folder}/")}


def test_the_packages_work_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    locked = run(UV, "export", "--frozen", "--quiet", "--no-dev", "--all-packages", "--no-emit-workspace")
    (tmp_path / "requirements.txt").write_text(locked)
    run(UV, "venv", "--quiet", tmp_path / "venv")
    wheels = sorted(dist.glob("*.whl"))
    install = (UV, "pip", "install", "--quiet", f"--python={tmp_path / 'venv'}")
    run(*install, f"--requirement={tmp_path / 'requirements.txt'}")
    run(*install, "--no-deps", *wheels)
    programs_of_both = tmp_path / "venv" / "bin"
    worker, operator = programs_of_both / "rochallor-worker", programs_of_both / "rochallor-operator"
    assert run(worker, "--version", cwd=tmp_path) == f"rochallor-worker {RELEASE}\n"
    assert run(operator, "--version", cwd=tmp_path) == f"rochallor-operator {RELEASE}\n"
    run(worker, "init", "shop", cwd=tmp_path)
    assert "greet" in run(worker, "check", "handlers:registry", cwd=tmp_path / "shop")


def test_a_worker_over_rest_alone_installs_no_other_clients(dist: Path, tmp_path: Path) -> None:
    """`pip install rochallor-worker` for use in a process of your own; each missing extra is reported in one line."""
    locked = run(UV, "export", "--frozen", "--quiet", "--no-dev", "--package=rochallor-worker", "--no-emit-workspace")
    assert not re.search(r"^(confluent-kafka|grpcio|protobuf|structlog|typer|pydantic)", locked, re.MULTILINE)
    (tmp_path / "requirements.txt").write_text(locked)
    run(UV, "venv", "--quiet", tmp_path / "venv")
    install = (UV, "pip", "install", "--quiet", f"--python={tmp_path / 'venv'}")
    run(*install, f"--requirement={tmp_path / 'requirements.txt'}")
    run(*install, "--no-deps", *dist.glob("rochallor_worker-*.whl"))
    python = tmp_path / "venv" / "bin" / "python"
    assert run(python, "-c", WITHOUT_EXTRAS, cwd=tmp_path).splitlines() == [
        "GrpcClient needs the module grpc, which is not installed: pip install 'rochallor-worker[grpc]'",
        "completed",
        "Kafka needs the module confluent_kafka, which is not installed: pip install 'rochallor-worker[kafka]'",
    ]
    command = subprocess.run(
        [python, "-m", "rochallor_worker"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert command.returncode == 2
    assert command.stderr == (
        "rochallor-worker: the command line needs the module typer, which is not installed: "
        "pip install 'rochallor-worker[cli]'\n"
    )


def test_the_charts_take_the_images_of_the_release(dist: Path) -> None:
    archive = dist / f"rochallor-operator-{RELEASE}.tgz"
    rendered = run(programs.tool("helm"), "template", "release", archive, "--kube-version=1.37.0")
    [deployment] = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert container["image"] == f"{IMAGES}/rochallor-operator:{RELEASE}"
    assert variables["ROCHALLOR_OPERATOR_WORKER_IMAGE"] == f"{IMAGES}/rochallor-worker:{RELEASE}"
