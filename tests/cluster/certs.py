"""Keys and certificates by which the programs of a cluster trust each other, the admin's token and kubeconfig."""

from __future__ import annotations

import base64
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
FRONT = "front-proxy"
"""The name by which API servers behind the API server, such as metrics adapters, know it."""


def make(folder: Path, addresses: tuple[str, ...]) -> None:
    """Write into `folder`: ca.crt, ca.key, api.crt, api.key (valid for `addresses` too), front-proxy.crt,
    front-proxy.key, sa.key, token, tokens.csv.

    Raises ClusterError if openssl is missing.
    """
    if shutil.which("openssl") is None:
        raise ClusterError("openssl is needed to make the cluster's certificates: install Debian's package openssl")
    folder.mkdir(parents=True, exist_ok=True)
    san = ",".join([f"DNS:{name}" for name in NAMES] + [f"IP:{address}" for address in addresses])
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    new = ["req", "-x509", *key, "-days", "365"]
    _openssl(folder, *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
    for name, more in (("api", ["-addext", f"subjectAltName={san}"]), (FRONT, [])):
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", *more]
        _openssl(folder, *new, *signed, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    _openssl(folder, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "sa.key")
    token = secrets.token_hex(16)
    for name, text in (("token", token), ("tokens.csv", f"{token},admin,admin,system:masters\n")):
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(text)


def write_kubeconfig(file: Path, folder: Path, server: str) -> None:
    """Write the admin's kubeconfig for the API server at the URL `server`, complete in one file."""
    authority = base64.b64encode((folder / "ca.crt").read_bytes()).decode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(
        f"""apiVersion: v1
kind: Config
clusters: [{{name: rochallor, cluster: {{server: "{server}", certificate-authority-data: {authority}}}}}]
users: [{{name: admin, user: {{token: {(folder / "token").read_text()}}}}}]
contexts: [{{name: rochallor, context: {{cluster: rochallor, user: admin}}}}]
current-context: rochallor
"""
    )


def _openssl(folder: Path, *args: str) -> None:
    done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"openssl {args[0]} failed: {done.stderr.strip()}")
