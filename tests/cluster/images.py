"""Container images: built with Docker where it answers, else with buildah; and the one that holds a single program."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from typing import TYPE_CHECKING

from cluster import kind
from cluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def save(name: str, archive: Path) -> None:
    """Write the image `name` (NAME:TAG) that was built here into `archive`, as `docker save` would.

    Raises ClusterError when there is no such image.
    """
    command = ["docker", "save", f"--output={archive}", name]
    if not kind.works():
        command = ["buildah", "push", "--quiet", name, f"docker-archive:{archive}:{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"the image {name} can't be saved: {done.stderr.strip()}")


def write_program_archive(archive: Path, program: Path, name: str) -> None:
    """Write the image `name` (NAME:TAG), which holds and runs one static program, as `docker save` would."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, f"/{program.name}")
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for member, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
