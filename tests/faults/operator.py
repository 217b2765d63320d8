"""Faults of the operator: killed, frozen, cut off from the API server."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from faults.estate import Estate, lives_until, on_an_estate, plane
from faults.impatient import WATCH_LIMIT_S
from faults.suite import Suite
from integration.operator.conftest import released
from integration.operator.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.result import Resources
    from faults.suite import Trial
    from integration.operator.api import Object
    from integration.operator.process import Operator


def killed_in_a_burst(here: Estate, trial: Trial) -> Resources:
    """SIGKILL at random moments during a burst of edits."""
    random = trial.random()
    with here.operator():
        here.create_first()
    here.change()
    for _ in range(trial.size.jobs // 20):
        here.edit("r-0")
        with here.operator(log_level="DEBUG") as operator:
            operator.event("watching")
            here.edit("r-4")
            operator.until(partial(_as_many, random.randint(3, 40)))
    ended_at = time.monotonic()
    with here.operator() as restarted:
        return here.figures(restarted, ended_at)


def _as_many(count: int, lines: list[Object]) -> bool:
    return len(lines) >= count


def leader_killed(here: Estate, _: Trial) -> Resources:
    """SIGKILL of the leader of two; the other one waits for its lease to end."""
    with released(here.plane.control, here.plane.cluster, here.api.namespace) as candidate, candidate() as first:
        first.event("watching")
        here.create_first()
        with candidate() as second:
            second.event("standing by")
            first.process.kill()
            ended_at = time.monotonic()
            here.change()
            return here.figures(second, ended_at)


def leader_paused(here: Estate, _: Trial) -> Resources:
    """SIGSTOP of the leader of two. When it continues, the other one leads: it must exit without writing anything."""
    with released(here.plane.control, here.plane.cluster, here.api.namespace) as candidate, candidate() as first:
        first.event("watching")
        here.create_first()
        with candidate() as second:
            second.event("standing by")
            here.edit("r-0")
            first.process.send_signal(signal.SIGSTOP)
            ended_at = time.monotonic()
            here.change()
            second.event("watching")
            before = len(first.lines)  # not sooner: it may have handled the edit before it was stopped
            first.process.send_signal(signal.SIGCONT)
            assert first.ended() == 1
            assert first.lines[-1]["event"].startswith("stopped: lost the lease ")
            assert not [line for line in first.lines[before:] if line["event"] in {"created", "updated", "removed"}]
            return here.figures(second, ended_at)


@contextmanager
def through_a_proxy(here: Estate) -> Iterator[tuple[Proxy, Operator]]:
    """Run an operator that reaches the API server through a proxy, and checks its watch often."""
    port = urlsplit(here.plane.control.url).port
    assert port is not None
    with Proxy(port) as proxy:
        config = yaml.safe_load(here.plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        path = here.plane.kubeconfig.with_name(f"{here.api.namespace}.kubeconfig")
        path.write_text(yaml.safe_dump(config))
        with here.impatient_operator(path) as operator:
            yield proxy, operator


def watch_cut(here: Estate, _: Trial) -> Resources:
    """All connections to the API server are reset, new ones too, while resources change."""
    with through_a_proxy(here) as (proxy, operator):
        here.create_first()
        proxy.cut()
        here.change()
        operator.event("can't test the watch")
        proxy.restore()
        return here.figures(operator, time.monotonic())


def watch_silent(here: Estate, _: Trial) -> Resources:
    """The connections stay open but silent: the liveness probe fails, and the kubelet restarts the operator."""
    with through_a_proxy(here) as (proxy, operator):
        here.create_first()
        proxy.silence()
        here.change()
        answer = lives_until(operator, lambda given: given.status_code == 503, 10 * WATCH_LIMIT_S)
        assert answer is not None
        assert answer.text.startswith("the watch is silent: for ")
        assert operator.http("/readyz").status_code == 200
    ended_at = time.monotonic()
    with here.operator() as restarted:
        return here.figures(restarted, ended_at)


OPERATOR = Suite(
    "Operator",
    plane,
    {
        "operator SIGKILL in a burst of edits": on_an_estate(killed_in_a_burst),
        "leader SIGKILL": on_an_estate(leader_killed),
        "leader SIGSTOP and handover": on_an_estate(leader_paused),
        "watch cut": on_an_estate(watch_cut),
        "watch silent": on_an_estate(watch_silent),
    },
    at_once=5,
)
