"""What `make dist` builds is what a stranger can use: packages in an empty environment, charts from their archives."""

from __future__ import annotations

import os
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


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command as in a shell without our environment's packages; gives what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    done = subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False, timeout=100
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


def test_the_charts_take_the_images_of_the_release(dist: Path) -> None:
    archive = dist / f"rochallor-operator-{RELEASE}.tgz"
    rendered = run(programs.tool("helm"), "template", "release", archive, "--kube-version=1.37.0")
    [deployment] = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert container["image"] == f"{IMAGES}/rochallor-operator:{RELEASE}"
    assert variables["ROCHALLOR_OPERATOR_WORKER_IMAGE"] == f"{IMAGES}/rochallor-worker:{RELEASE}"
