"""Records as rows: JSON with ids in place of other records, for a file that outlives the process."""

from typing import Any

import msgspec
from msgspec.structs import asdict

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.model.core import Chained, Core
from rochallor_worker.devengine.model.timers import Timer
from rochallor_worker.devengine.records import Dispatch, Instance, Job, Kind, StepExecution

Row = dict[str, Any]


def row(record: Any) -> bytes:
    """Return a record of any `Kind` as a row."""
    return msgspec.json.encode(_fields(record))


def _fields(record: Any) -> Row:
    match record:
        case Instance(definition=definition):
            tasks = [task.id for task in record.user_tasks]
            return asdict(record) | {"definition": definition.id, "version": definition.version, "user_tasks": tasks}
        case Job():
            return asdict(record) | {"instance": record.instance.id, "execution": record.execution.id}
        case Dispatch():
            return asdict(record) | {"job": record.job.id}
        case Timer(instance=instance, execution=execution):
            return {**record._asdict(), "instance": instance.id, "execution": execution.id}
        case Chained():
            return {**record._asdict()}
    definition, uploaded_at = record
    return {"definition": definition, "uploaded_at": uploaded_at}


class Restoring(Core):
    """Part of `EngineState`."""

    def restore(self, kind: Kind, row: bytes) -> None:
        """Put back the record of a row, in the order in which the records were added.

        Raises an error of its values or of msgspec for a row that `row` has not written.
        """
        fields: Row = msgspec.json.decode(row)
        match kind:
            case "definition":
                definition = msgspec.convert(fields["definition"], Definition)
                self.definitions.add(definition, fields["uploaded_at"])
            case "instance":
                self._instances.add(self._instance_of(fields))
            case "job":
                instance = self.instances[fields["instance"]]
                execution = _execution(instance, fields["execution"])
                self._jobs.restore(Job(**fields | {"instance": instance, "execution": execution}))
            case "timer":
                instance = self.instances[fields["instance"]]
                execution = _execution(instance, fields["execution"])
                self._timers.add(Timer(fields["due"], instance, execution, fields["number"]))
            case "chained":
                self._chained.append(Chained(**fields))
            case "dispatch":
                self.outbox.add(Dispatch(**fields | {"job": self.jobs[fields["job"]]}))

    def _instance_of(self, fields: Row) -> Instance:
        history = msgspec.convert(fields["history"], tuple[StepExecution, ...])
        entries = {entry.id: entry for entry in history}
        records = {
            "definition": self.definitions.get(fields["definition"], fields.pop("version")),
            "history": history,
            "user_tasks": tuple(entries[task] for task in fields["user_tasks"]),
            "current_step_ids": tuple(fields["current_step_ids"]),
        }
        return Instance(**fields | records)


def _execution(instance: Instance, execution_id: str) -> StepExecution:
    return {entry.id: entry for entry in instance.history}[execution_id]
