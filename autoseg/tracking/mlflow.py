"""MLflow: the server that MLFLOW_TRACKING_URI names, else files in the folder of the fold."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoseg.tracking.port import TRACKERS, Status, TrackedRun
from planners.registry import NoOptions

_STATUS: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_NOT_IN_A_NAME = re.compile(r"[^\w\-./ ]")
_LONGEST = 500  # of a parameter, in every version of the server


@TRACKERS.register("mlflow", module="mlflow", extra="mlflow")
class MlflowTracker:
    """A run of the experiment that bears the name of the dataset. Only the client is used, which changes no global state."""

    def __init__(self, options: NoOptions, run: TrackedRun):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when MLflow is imported
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if address is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            address = run.folder.absolute().as_uri()
        self._run, self._client, self._id = run, _client(address), run.run_id or ""

    def start(self) -> str:
        if self._id:
            self._client.update_run(self._id, status="RUNNING")
            return self._id
        experiment = self._client.get_experiment_by_name(self._run.dataset)
        number = self._client.create_experiment(self._run.dataset) if experiment is None else experiment.experiment_id
        self._id = str(self._client.create_run(number, run_name=self._run.name).info.run_id)
        for name, value in self._run.parameters.items():
            self._client.log_param(self._id, _name(name), str(value)[:_LONGEST])
        return self._id

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, _name(name), value, step=step)

    def picture(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), "pictures")

    def model(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), "model")

    def end(self, status: Status) -> None:
        self._client.set_terminated(self._id, _STATUS[status])


def _client(address: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=address)


def _name(name: str) -> str:
    return _NOT_IN_A_NAME.sub("_", name)
