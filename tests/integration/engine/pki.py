"""Certificates for tests, made with openssl."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DAYS = 30
"""How long a certificate is valid."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A CA that signs for 127.0.0.1."""

    folder: Path
    ca: Pair

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        folder.mkdir()
        return cls(folder, _certificate(folder, "ca"))

    def issue(self, name: str, clock: Mapping[str, str] | None = None) -> Pair:
        """Sign a certificate, for servers and clients alike, by the clock in the environment variables given."""
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
        return _certificate(self.folder, name, *signed, clock=clock)


def _certificate(folder: Path, name: str, *options: str, clock: Mapping[str, str] | None = None) -> Pair:
    assert shutil.which("openssl"), "openssl is needed to make certificates: install Debian's package openssl"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    named = ["-out", f"{name}.crt", "-days", f"{DAYS}", "-subj", f"/CN={folder.name}-{name}"]
    command = ["openssl", "req", "-x509", *new_key, *named, *options]
    subprocess.run(command, cwd=folder, env={**os.environ, **(clock or {})}, check=True, capture_output=True)
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")
