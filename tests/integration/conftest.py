"""What integration tests share: a real control plane, built and started once."""

from __future__ import annotations

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


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager. Deployments become Pod objects; no pod runs."""
    with ControlPlane() as running:
        yield running
