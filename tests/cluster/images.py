"""Container images, built with Docker if it answers, else with buildah on a Debian base from debootstrap."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cluster import kind, packages, programs
from cluster.errors import ClusterError
from cluster.progress import phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
BASE = "localhost/rochallor-base:bookworm"
# Not needed in images: Debian's documents, translations and package lists.
USELESS = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")


def build(target: str, name: str) -> None:
    """Build the Dockerfile's stage `target` as the image `name` (NAME:TAG); seconds if only our code has changed.

    Raises ClusterError if a tool is missing and can't be installed, or the build fails.
    """
    build_from(ROOT, name, f"--target={target}")


def build_from(context: Path, name: str, *options: str) -> None:
    """Build the image `name` (NAME:TAG) from the folder `context` and its Dockerfile, with more options for the tool.

    Raises ClusterError as `build` does.
    """
    command = ["docker", "build"]
    if not kind.works():
        packages.ensure(packages.IMAGES)
        _ensure_base()
        command = ["buildah", "build", "--layers", "--network=host", f"--build-arg=BASE_IMAGE={BASE}"]
    with phase(f"build the image {name}") as note:
        _run([*command, *_secrets(), *options, f"--tag={name}", str(context)], note)


def build_program(program: str, name: str) -> None:
    """Build the image `name` (NAME:TAG) of a single program of the cluster, and the program if it is missing.

    Raises ClusterError as `build` does.
    """
    programs.ensure(program)
    dockerfile = programs.MODULES / "Dockerfile"
    build_from(programs.path(program).parent, name, f"--file={dockerfile}", f"--build-arg=PROGRAM={program}")


def identity(name: str) -> str:
    """Return the id of the image `name` that was built here; it changes with the content."""
    return _run(["buildah", "inspect", "--type=image", "--format={{.FromImageID}}", name]).strip()


@contextmanager
def archive(name: str) -> Iterator[Path]:
    """Write the image `name` that was built here to a temporary file, as `docker save` would."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "image.tar"
        _run(["buildah", "push", "--quiet", name, f"docker-archive:{file}:{name}"])
        yield file


def _secrets() -> list[str]:
    """Return build secrets: this machine's access to its package registry, which must not be in a layer."""
    files = {
        "ca": Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")),
        "pip": Path(os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf")),
    }
    return [f"--secret=id={name},src={file}" for name, file in files.items() if file.is_file()]


def _ensure_base() -> None:
    if _run(["buildah", "images", "--quiet", "--filter", f"reference={BASE}"]):
        return
    with phase("make the base image (Debian 12 with Python)") as note, TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        include = "--include=python3,python3-venv,ca-certificates"
        _run(["debootstrap", "--variant=minbase", include, "bookworm", str(root)], note)
        _run(["rm", "-rf", *(str(root / path) for path in USELESS)])
        container = _run(["buildah", "from", "scratch"]).strip()
        _run(["buildah", "add", "--quiet", container, str(root), "/"])
        _run(["buildah", "commit", "--quiet", "--rm", container, BASE])


def _run(command: list[str], note: Callable[[str], None] = lambda _: None) -> str:
    """Run `command`, passing its lines to `note` as they come; return its output.

    Raises ClusterError with the last lines if it fails.
    """
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            note(line.strip()[:80])
    if process.returncode != 0:
        raise ClusterError(f"{' '.join(command[:2])} failed:\n{''.join(lines[-15:])}")
    return "".join(lines)
