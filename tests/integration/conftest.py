"""What integration tests share: a real control plane, built and started once."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from cluster import packages, programs
from cluster.controlplane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Build or install missing programs before the first test: that takes minutes, which are no test's own."""
    if session.config.option.collectonly:
        return
    wanted = {fixture for item in _functions(session) for fixture in item.fixturenames}
    if "control_plane" in wanted:
        programs.ensure(*programs.CONTROL_PLANE)
    if wanted & {"control_plane", "dist"}:
        programs.tool("helm")
    if "actionlint" in wanted:
        programs.tool("actionlint")
    if "stub_engine" in wanted:
        programs.ensure("stub")
    if "promtool" in wanted:
        packages.ensure(packages.PROMTOOL)


def _functions(session: pytest.Session) -> Iterator[pytest.Function]:
    return (item for item in session.items if isinstance(item, pytest.Function))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nothing listens, and that nobody gets who asks for any free one.

    A server of the test may listen there: it may share the port with a socket that does not listen.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager. Deployments become Pod objects; no pod runs."""
    with ControlPlane() as running:
        yield running
