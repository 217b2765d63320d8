"""Debian's PostgreSQL as a pod of the test cluster, at postgres:5432 in its namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import images, kind, node, programs
from cluster.progress import phase

if TYPE_CHECKING:
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
