"""Asks Kubernetes and status pages for the workers there are, and their pods for what they do."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from rochallor_worker.asking.calls import each
from rochallor_worker.errors import Away
from rochallor_worker.why.facts import Answer, Pod, Worker
from rochallor_worker.why.kubectl import Kubectl, page
from rochallor_worker.why.kubernetes import WORKER_LABEL, PodObject, Resource, pod_of, worker_of


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that could be asked for."""

    workers: tuple[Worker, ...] | None
    """None if nobody could be asked."""
    complete: bool
    """Whether there are no others, as far as Kubernetes and the named pages go."""
    unknown: tuple[str, ...]
    """What could not be asked, and why."""


async def fleet(kubectl: Kubectl | None, pages: Sequence[str], matters: Callable[[Collection[str]], bool]) -> Fleet:
    """Return the workers in Kubernetes, and those with these status pages.

    `matters` says of job types whether the pods of a worker with them are to be asked.
    """
    unknown: list[str] = []
    workers: list[Worker] = []
    answered = kubectl is None
    if kubectl is not None:
        try:
            workers += await _in_kubernetes(kubectl, matters, unknown)
            answered = True
        except Away as error:
            unknown.append(str(error))
    for url in pages:
        try:
            workers.append(_outside(url, await page(url)))
        except Away as error:
            answered = False
            unknown.append(str(error))
    nobody = not workers and not answered
    return Fleet(None if nobody else tuple(workers), answered, tuple(unknown))


async def _in_kubernetes(
    kubectl: Kubectl, matters: Callable[[Collection[str]], bool], unknown: list[str]
) -> Iterable[Worker]:
    resources, pods = await kubectl.workers(), await kubectl.pods()
    of_each = [(one, [pod for pod in pods if _belongs(pod, one)]) for one in resources]
    asked = [pod for one, its_pods in of_each if matters(one.spec.job_types) for pod in its_pods if pod.runs]

    async def ask(pod: PodObject) -> Answer | None:
        try:
            return await kubectl.answer(pod)
        except Away as error:
            unknown.append(f"pod {pod.metadata.name}: {error}")
            return None

    answers = dict(zip(map(_key, asked), await each(ask, asked), strict=True))
    return [worker_of(one, tuple(pod_of(pod, answers.get(_key(pod))) for pod in its_pods)) for one, its_pods in of_each]


def _belongs(pod: PodObject, resource: Resource) -> bool:
    mine = (resource.metadata.namespace, resource.metadata.name)
    return (pod.metadata.namespace, pod.metadata.labels.get(WORKER_LABEL)) == mine


def _key(pod: PodObject) -> tuple[str, str]:
    return pod.metadata.namespace, pod.metadata.name


def _outside(url: str, answer: Answer) -> Worker:
    ready = not answer.problem
    return Worker(
        name=answer.worker or url,
        job_types=tuple(kind.name for kind in answer.types),
        ready=int(ready),
        transport=answer.transport,
        pods=(Pod(url, ready, answer),),
    )
