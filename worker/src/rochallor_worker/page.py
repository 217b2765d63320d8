"""The status page at `/`: one look at a worker for the person who was called at night."""

from html import escape
from importlib.metadata import version

from rochallor_worker.activity import Activity
from rochallor_worker.health import not_ready
from rochallor_worker.pulse import Pulse
from rochallor_worker.runner import Runner

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.3rem}table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid #d8dee6;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#17703c}.bad{color:#b3261e}
@media(prefers-color-scheme:dark){body{color:#e3e8ef;background:#14181f}th,td{border-color:#333c49}
.ok{color:#58c98a}.bad{color:#ff8a80}}
"""


def render(runner: Runner, activity: Activity, pulse: Pulse, *, transport: str, worker_id: str) -> str:
    """Return the page as HTML. Everything from outside is escaped."""
    trouble = not_ready(runner)
    state = f'<span class="bad">{escape(trouble)}</span>' if trouble else '<span class="ok">ready</span>'
    facts = {
        "state": state,
        "slots": f"{runner.slots.busy} of {runner.slots.total} busy, {pulse.utilization:.0%} over the last 15 s",
        "transport": escape(transport),
        "event loop": f"at most {pulse.loop_lag * 1000:.0f} ms late in the last 15 s",
        "journal": f"{len(runner.journal)} jobs, {runner.journal.errors} write errors",
        "version": escape(version("rochallor-worker")),
    }
    rows = "".join(_row(activity, job_type) for job_type in activity.types)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(worker_id)}</title>'
        f"<style>{_STYLE}</style><h1>rochallor worker {escape(worker_id)}</h1><table>"
        + "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items())
        + "</table><table><tr><th>job type</th><th>jobs/s</th><th>completed</th><th>failed</th><th>last error</th></tr>"
        + rows
        + '</table><p><a href="metrics">metrics</a></p></html>'
    )


def _row(activity: Activity, job_type: str) -> str:
    seen = activity.types[job_type]
    at = f"{seen.last_error_at:%Y-%m-%d %H:%M:%S} UTC: " if seen.last_error_at else ""
    return (
        f'<tr><td>{escape(job_type)}</td><td class="n">{activity.rate(job_type):.1f}</td>'
        f'<td class="n">{seen.completed}</td><td class="n">{seen.failed}</td>'
        f"<td>{escape(at + seen.last_error) or '–'}</td></tr>"
    )
