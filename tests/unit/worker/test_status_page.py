"""The status page: what it shows, and that everything from outside is escaped."""

import pytest

from rochallor_worker import Registry, Runner
from rochallor_worker.events import Executed, Reported
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status_page import Activity, render
from unit.worker.engines import FaultyEngine


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def runner(clock: Clock) -> Runner:
    registry = Registry()
    for job_type in ("pay", "<b>"):
        registry.handler(job_type)(lambda _: None)
    return Runner(FaultyEngine(), registry, worker_id="w", clock=clock)


def page(runner: Runner, activity: Activity, clock: Clock) -> str:
    return render(runner, activity, Sampler(runner.slots, runner.gates, clock), transport="rest", worker_id="<w>")


async def test_it_shows_state_rates_and_the_last_error(runner: Runner, clock: Clock) -> None:
    activity = Activity(runner.job_types, clock)
    clock.now += 30
    for _ in range(90):
        activity.observe(Reported("pay", "completed", "accepted", 0.1))
    for _ in range(2):
        activity.observe(Reported("pay", "failed_retryable", "accepted", 0.1))
    activity.observe(Executed("pay", "failed_final", 0.1, "ValueError: no such card"))
    activity.observe(Reported("pay", "failed_final", "accepted", 0.1))
    html = page(runner, activity, clock)
    assert "the engine has not answered the first poll yet" in html
    cells = "".join(f'<td class="n">{cell}</td>' for cell in ("3.1", 90, 2, 1, 0))
    assert f"<td>pay</td>{cells}<td>closed</td><td>" in html
    assert "ValueError: no such card" in html
    clock.now += 61
    assert activity.rate("pay") == 0


async def test_everything_from_outside_is_escaped(
    runner: Runner, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rochallor_worker.observability.status_page.not_ready", lambda _: "EngineUnreachable: 502 <i>gateway</i>"
    )
    activity = Activity(runner.job_types, clock)
    activity.observe(Executed("<b>", "failed_final", 0.1, "<script>alert(1)</script>"))
    html = page(runner, activity, clock)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<w>" not in html
    assert "502 &lt;i&gt;gateway&lt;/i&gt;" in html
