"""Debian's PostgreSQL: a pod of the test cluster, at postgres:5432 in its namespace, or a process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import psycopg

from cluster import images, kind, node, packages, programs
from cluster.processes import Process, reserved_ports
from cluster.progress import phase
from waiting import wait_until

if TYPE_CHECKING:
    from typing import Self

    from cluster.kubectl import Kubectl

IMAGE = "localhost/postgres:test"  # as in postgres.yaml
SOURCES = programs.MODULES / "postgres"
TABLES = """
CREATE TABLE workflow_instance (id text PRIMARY KEY, status text NOT NULL);
CREATE TABLE job (
    id text PRIMARY KEY DEFAULT gen_random_uuid(),
    instance_id text NOT NULL REFERENCES workflow_instance,
    step_execution_id text NOT NULL DEFAULT gen_random_uuid(),
    job_type text NOT NULL,
    status text NOT NULL,
    worker_id text,
    locked_at timestamptz,
    lock_expires_at timestamptz,
    retries_remaining integer NOT NULL DEFAULT 0,
    payload jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
"""
"""The engine's tables that are read from outside (engine.md: Table `job`)."""


def load_image() -> None:
    """Build the image and load it into the cluster: a minute once, then seconds."""
    images.build_from(SOURCES, IMAGE)
    (kind if kind.works() else node).load(IMAGE)


def start(kubectl: Kubectl) -> None:
    """Start the server in the namespace of `kubectl` and wait until it serves."""
    with phase("start PostgreSQL"):
        kubectl("apply", f"--filename={SOURCES / 'postgres.yaml'}")
        kubectl("rollout", "status", "deployment/postgres", "--timeout=3m")


def run(kubectl: Kubectl, statement: str) -> str:
    """Run one SQL statement; return its result as bare text."""
    psql = ("psql", "--host=/tmp", "--username=postgres", "--quiet", "--tuples-only", "--no-align")
    return kubectl("exec", "deploy/postgres", "--", *psql, f"--command={statement}").strip()


PASSWORD = "the database's secret"
"""The password of all users of a Server."""
_NOBODY = 65534


class Server:
    """A server as a process, with an empty database and TLS; use it in a `with` block. It doesn't run as root."""

    def __enter__(self) -> Self:
        packages.ensure(packages.POSTGRES)
        programs_at = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._folder = Path(mkdtemp(prefix="postgres-"))
        (self._folder / "password").write_text(PASSWORD)
        key, certificate = self._folder / "tls.key", self._folder / "tls.crt"
        made = [
            "openssl",
            "req",
            "-x509",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ]
        subprocess.run(made, check=True, capture_output=True)
        alone: list[str] = []
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, _NOBODY, _NOBODY)
            alone = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        data = f"--pgdata={self._folder / 'data'}"
        options = ["--auth=scram-sha-256", "--username=postgres", f"--pwfile={self._folder / 'password'}", "--no-sync"]
        subprocess.run([*alone, programs_at / "initdb", data, *options], check=True, capture_output=True)
        self._ports = reserved_ports(1)
        (self.port,) = self._ports.__enter__()
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._folder}
        settings |= {"ssl": "on", "ssl_key_file": key, "ssl_cert_file": certificate, "fsync": "off"}
        argv = [
            *alone,
            "setpriv",
            "--pdeathsig",
            "KILL",
            str(programs_at / "postgres"),
            data.replace("--pgdata=", "-D"),
        ]
        argv += [f"-c{name}={value}" for name, value in settings.items()]
        self._process = Process(argv, self._folder.with_suffix(".log"))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._ports.__exit__(None, None, None)
        self._folder.with_suffix(".log").unlink()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._process.start()
        wait_until(self._serves)

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        if self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGQUIT)
            self._process.terminate()

    def dsn(self, user: str = "postgres", password: str = PASSWORD) -> str:
        """A connection string."""
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, dbname="postgres", user=user, password=password
        )

    def connect(self) -> psycopg.Connection[Any]:
        """A connection as an administrator."""
        return psycopg.connect(self.dsn(), autocommit=True)

    def run(self, statement: str) -> None:
        """Run SQL statements."""
        with self.connect() as connection:
            connection.execute(statement.encode())

    def _serves(self) -> bool:
        self._process.check()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True
