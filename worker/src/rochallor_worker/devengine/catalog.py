"""The definitions that were uploaded, with all their versions."""

from collections.abc import Callable

from rochallor_worker.devengine.definition import Definition, check
from rochallor_worker.devengine.errors import NotFoundError


class Catalog:
    """Definitions by id, each with its versions from 1; `clock` gives the time in epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._versions: dict[str, list[tuple[Definition, float]]] = {}

    def upload(self, definition: Definition) -> tuple[Definition, float]:
        """Store a definition as the next version of its id; return it with the time of the upload."""
        check(definition)
        versions = self._versions.setdefault(definition.id, [])
        definition.version = len(versions) + 1
        versions.append((definition, self._clock()))
        return versions[-1]

    def get(self, definition_id: str, version: int = 0) -> Definition:
        """Return one version of a definition; 0 means the newest."""
        versions = self._versions.get(definition_id, [])
        if not 0 <= version <= len(versions) or not versions:
            raise NotFoundError("definition not found")
        return versions[version - 1][0]

    def list(
        self, *, keyword: str = "", page: int = 0, page_size: int = 20
    ) -> tuple[list[tuple[Definition, float]], int]:
        """Return one page of the newest versions whose id or name contains `keyword`, by id, and the total."""
        wanted = keyword.lower()
        newest = (self._versions[definition_id][-1] for definition_id in sorted(self._versions))
        found = [entry for entry in newest if wanted in entry[0].id.lower() or wanted in entry[0].name.lower()]
        return found[page * page_size : (page + 1) * page_size], len(found)
