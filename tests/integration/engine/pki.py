"""Certificates for tests, made with openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


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

    def issue(self, name: str) -> Pair:
        """Sign a certificate, for servers and clients alike."""
        return _certificate(
            self.folder, name, "-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"
        )


def _certificate(folder: Path, name: str, *options: str) -> Pair:
    assert shutil.which("openssl"), "openssl is needed to make certificates: install Debian's package openssl"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    named = ["-out", f"{name}.crt", "-days", "30", "-subj", f"/CN={folder.name}-{name}"]
    subprocess.run(["openssl", "req", "-x509", *new_key, *named, *options], cwd=folder, check=True, capture_output=True)
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")
