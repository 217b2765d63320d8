"""The operator is killed, stands still, or hears nothing any more."""

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
from integration.operator.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.result import Resources
    from faults.suite import Trial
    from integration.operator.api import Object
    from integration.operator.process import Operator


def killed_in_a_burst(here: Estate, trial: Trial) -> Resources:
    """SIGKILL at a random moment of what a burst of edits sets off, again and again."""
    random = trial.random()
    with here.operator():
        here.found()
    here.change()
    for _ in range(trial.size.jobs // 20):
        here.edit("r-0")
        with here.operator(log_level="DEBUG") as operator:
            operator.event("watching")
            here.edit("r-4")
            operator.until(partial(_as_many, random.randint(3, 40)))
    ended_at = time.monotonic()
    with here.operator() as anew:
        return here.figures(anew, ended_at)


def _as_many(count: int, lines: list[Object]) -> bool:
    return len(lines) >= count


def leader_killed(here: Estate, _: Trial) -> Resources:
    """SIGKILL of the leader of two; its lease has to end."""
    with released(here.plane.control, here.plane.cluster, here.api.namespace) as candidate, candidate() as first:
        first.event("watching")
        here.found()
        with candidate() as second:
            second.event("standing by")
            first.process.kill()
            ended_at = time.monotonic()
            here.change()
            return here.figures(second, ended_at)


def leader_paused(here: Estate, _: Trial) -> Resources:
    """SIGSTOP of the leader of two. When it goes on, another one leads: it must end, and write nothing more."""
    with released(here.plane.control, here.plane.cluster, here.api.namespace) as candidate, candidate() as first:
        first.event("watching")
        here.found()
        before = len(first.lines)
        with candidate() as second:
            second.event("standing by")
            here.edit("r-0")
            first.process.send_signal(signal.SIGSTOP)
            ended_at = time.monotonic()
            here.change()
            second.event("watching")
            first.process.send_signal(signal.SIGCONT)
            assert first.ended() == 1
            assert first.lines[-1]["event"].startswith("stopped, because lost the lease ")
            assert not [line for line in first.lines[before:] if line["event"] in {"created", "updated", "removed"}]
            return here.figures(second, ended_at)


@contextmanager
def through_a_proxy(here: Estate) -> Iterator[tuple[Proxy, Operator]]:
    """An operator that reaches the API server by way of a proxy, and looks often whether its watch still hears."""
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
    """All connections to the API server are reset, and new ones too, while everything changes."""
    with through_a_proxy(here) as (proxy, operator):
        here.found()
        proxy.cut()
        here.change()
        operator.event("the watch can't be tested")
        proxy.mend()
        return here.figures(operator, time.monotonic())


def watch_silent(here: Estate, _: Trial) -> Resources:
    """The connections stay open and nothing comes any more: the liveness probe fails, and the kubelet restarts it."""
    with through_a_proxy(here) as (proxy, operator):
        here.found()
        proxy.silence()
        here.change()
        answer = lives_until(operator, lambda given: given.status_code == 503, 10 * WATCH_LIMIT_S)
        assert answer is not None
        assert answer.text.startswith("the watch is deaf: for ")
        assert operator.http("/readyz").status_code == 200
    ended_at = time.monotonic()
    with here.operator() as anew:
        return here.figures(anew, ended_at)


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
