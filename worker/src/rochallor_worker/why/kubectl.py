"""What Kubernetes and workers' pages are asked. Whatever keeps one from an answer is `Away`, with one line."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import msgspec

from rochallor_worker.engine.client import UNREADABLE
from rochallor_worker.errors import Away
from rochallor_worker.why.facts import Answer
from rochallor_worker.why.kubernetes import POD_LABELS, Listing, PodObject, Resource

SECONDS = 10.0
"""How long one source may take."""
PAGE_PORT = 9090
"""The port of a pod's /status.json, as the operator sets it."""
DEFAULT_SERVER = ("localhost:8080", "could not find the requested resource")
"""What kubectl says, among others, where it has no configuration: nobody is there, or a dev engine is."""
NO_CLUSTER = "kubectl knows no cluster: it has no current context (kubectl config use-context NAME sets one)"
RESOURCES = "rochallorworkers.rochallor.io"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The program `kubectl`, with the user's own configuration."""

    namespace: str = ""
    """Empty means all of them; for a single resource, the one of the context."""
    context: str = ""

    async def worker(self, name: str) -> Resource:
        """Return one RochallorWorker. Raises `Away`."""
        return await self._get(Resource, f"{RESOURCES}/{name}", *self._here)

    async def annotate(self, name: str, *annotations: str) -> None:
        """Write annotations of a RochallorWorker, or remove them: `NAME=VALUE`, `NAME-`. Raises `Away`."""
        await self._run("annotate", "--overwrite", *self._here, f"{RESOURCES}/{name}", *annotations)

    async def workers(self) -> list[Resource]:
        """Return the RochallorWorkers. Raises `Away`."""
        return await self._list(Resource, RESOURCES)

    async def pods(self) -> list[PodObject]:
        """Return the pods of all workers. Raises `Away`."""
        return await self._list(PodObject, "pods", f"--selector={POD_LABELS}")

    async def answer(self, pod: PodObject) -> Answer:
        """Return what a pod's worker says, asked through the API server. Raises `Away`."""
        where = f"namespaces/{pod.metadata.namespace}/pods/{pod.metadata.name}:{PAGE_PORT}"
        return _answer(pod.metadata.name, await self._run("get", "--raw", f"/api/v1/{where}/proxy/status.json"))

    @property
    def _here(self) -> list[str]:
        return [f"--namespace={self.namespace}"] if self.namespace else []

    async def _list(self, kind: type[T], *words: str) -> list[T]:
        listing = await self._get(Listing[kind], *words, *(self._here or ["--all-namespaces"]))  # type: ignore[valid-type]
        return listing.items

    async def _get(self, kind: type[T], *words: str) -> T:
        content = await self._run("get", *words, "--output=json")
        try:
            return msgspec.json.decode(content, type=kind)
        except UNREADABLE as error:
            raise Away(f"kubectl get {words[0]}: the answer cannot be read: {error}") from error

    async def _run(self, *words: str) -> bytes:
        context = [f"--context={self.context}"] if self.context else []
        try:
            return await _output("kubectl", *context, *words)
        except Away as error:
            asked_default = any(sign in str(error) for sign in DEFAULT_SERVER)
            if not asked_default or self.context or await _has_context():
                raise
            raise Away(NO_CLUSTER) from None


async def _has_context() -> bool:
    """Whether kubectl is set up for a cluster."""
    try:
        await _output("kubectl", "config", "current-context")
    except Away:
        return False
    return True


async def _output(*command: str) -> bytes:
    name = " ".join(command[:3])
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise Away(f"{command[0]} cannot be run: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(SECONDS):
            content, errors = await process.communicate()
    except TimeoutError:
        raise Away(f"{name}: no answer within {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        raise Away(f"{name}: {said[-1] if said else f'exit status {process.returncode}'}")
    return content


async def page(url: str) -> Answer:
    """Return what the worker with a status page at `url` says. Raises `Away`."""
    address = f"{url.rstrip('/')}/status.json"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as http,
            http.get(address) as response,
        ):
            response.raise_for_status()
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        raise Away(f"{address}: {str(error) or type(error).__name__}") from error
    return _answer(url, content)


def _answer(name: str, content: bytes) -> Answer:
    try:
        return msgspec.json.decode(content, type=Answer)
    except UNREADABLE as error:
        raise Away(f"{name}: /status.json cannot be read: {error}") from error
