"""What happens without a call: leases end, timers fire, chained workflows start."""

from rochallor_worker.devengine.errors import CallError, InternalError
from rochallor_worker.devengine.model.instance_calls import InstanceCalls
from rochallor_worker.devengine.model.steps import enter
from rochallor_worker.devengine.model.timers import INTERRUPTED, Timer

TICK_SECONDS = 1.0
"""The shortest interval in which `advance` checks timers; the engine itself does it every 5 s."""


class Background(InstanceCalls):
    """Part of `EngineState`."""

    def sweep(self) -> int:
        """Recover the jobs whose lease has ended, without spending a retry; return how many.

        On generation A they are unlocked. On fenced engines each is cancelled, and a new one waits at the end of the
        queue; those of ended instances stay locked.
        """
        now = self.now()
        recovered = 0
        for job in self._jobs.expired(now, of_ended=self.generation == "A"):
            self._note("expire", job, job.worker_id, now)
            recovered += 1
            if self.generation == "A":
                self._jobs.unlock(job, now)
            else:
                self._jobs.end(job, "CANCELLED", job.worker_id)
                self._jobs.replace(job, job.retries_remaining, now)
        return recovered

    def fire(self) -> None:
        """Fire the due timers, and start the workflows that follow others.

        Those that come up meanwhile wait for the next call, such as a workflow that chains to itself.
        """
        if self._timers.next_due is not None:
            for timer in self._timers.take_due(self.now()):
                self._fire(timer)
        if self._chained:
            chained, self._chained = self._chained, []
            for one in chained:
                self._changed("chained", one.id, None)
                try:
                    self.start(one.definition_id, variables=one.variables, business_key=one.business_key)
                except CallError:
                    continue  # there is no caller to report it to: the previous workflow has ended

    def advance(self, seconds: float) -> None:
        """Advance the engine's clock at once: timers fire in order, and leases end."""
        end = self.now() + seconds
        while (due := self._timers.next_due) is not None and due <= end > (now := self.now()):
            self._ahead += min(max(due, now + TICK_SECONDS), end) - now
            self.fire()
        self._ahead += max(end - self.now(), 0.0)
        self.fire()
        self.sweep()

    def _fire(self, timer: Timer) -> None:
        """Enter a timer's target, beside its step or instead of it.

        An interrupting timer does nothing in an ended instance; any other enters its target even there.
        """
        instance, execution, event = timer.instance, timer.execution, timer.event
        if event.interrupting and not instance.live:
            return
        now = self.now()
        transition = self._transition(instance, now)
        if event.interrupting:
            transition.leave(instance.definition.step(execution.step_id))
        try:
            enter(transition, event.target_step_id)
        except InternalError:
            return
        if event.interrupting:
            execution.status, execution.ended_at, execution.failure_reason = "FAILED", now, INTERRUPTED
            self._jobs.cancel(execution)
        self._write(transition)
