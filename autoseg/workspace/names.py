"""The names of all files.

AUTOSEG_HOME (default ~/autoseg) holds `raw/`, `prepared/`, `models/` and `twins/`. Raw datasets are also found under
`nnUNet_raw`.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.paths import below

DATASET_JSON = "dataset.json"  # of a raw dataset
INFERENCE_JSON = "inference.json"  # of a dataset's models
_DATASET_FOLDER = re.compile(r"Dataset(\d{3,})_(.+)")


@dataclass(frozen=True)
class Workspace:
    """The folders under one home, and where everything in them lies. `models_name` is that of the folder of models."""

    home: Path
    models_name: str = "models"

    @classmethod
    def open(cls, home: str | Path | None = None) -> "Workspace":
        """The workspace of `home`, else of AUTOSEG_HOME, else ~/autoseg. Nothing is created. A UserError where there is no
        home folder, as for a user that only a container knows.
        """
        folder = Path(home or os.environ.get("AUTOSEG_HOME") or "~/autoseg")
        try:
            return cls(folder.expanduser().absolute())
        except RuntimeError:
            raise UserError("the home folder of this user is not known", where=folder,
                            do="say where the workspace is: --home, or the variable AUTOSEG_HOME") from None
        except FileNotFoundError:
            raise UserError("the working directory is gone, so a name within it leads nowhere", where=folder,
                            do="change to another folder, or give a whole path") from None

    def raw_roots(self) -> list[Path]:
        """Folders that hold raw datasets, in the order of preference."""
        roots = [self.home / "raw"]
        if os.environ.get("nnUNet_raw"):
            roots.append(Path(os.environ["nnUNet_raw"]).expanduser())
        return roots

    def datasets(self) -> list[str]:
        """Names of every dataset that has a raw, prepared or model folder."""
        roots = [*self.raw_roots(), self.home / "prepared", self.models_root]
        return sorted({path.name for root in roots if root.is_dir() for path in root.iterdir()
                       if _DATASET_FOLDER.fullmatch(path.name)})

    def numbered(self) -> dict[int, str]:
        """The datasets by their numbers."""
        return {int(_number_and_name(name)[0]): name for name in self.datasets()}

    def dataset(self, key: str | int) -> str:
        """Full name `Dataset004_Hippocampus` from `4`, `004`, or the name itself.

        Raises UserError where nothing or more than one dataset fits.
        """
        known = self.datasets()
        text = str(key)
        if text.isdecimal():
            fits = [name for name in known if int(_number_and_name(name)[0]) == int(text)]
        else:
            fits = [name for name in known if text in (name, _number_and_name(name)[1])]
        if len(fits) == 1:
            return fits[0]
        where = " or ".join(str(root) for root in self.raw_roots())
        if not fits:
            raise UserError(f"unknown dataset {text!r}", where=where, found=", ".join(known) or "no dataset",
                            do="put a folder DatasetNNN_Name there, or name another home with --home")
        raise UserError(f"dataset {text!r} is ambiguous", where=where, found=", ".join(fits), do="give the full name")

    def raw(self, dataset: str) -> Path:
        """The raw folder of a dataset; a UserError where there is none."""
        for root in self.raw_roots():
            if below(root, dataset).is_dir():
                return root / dataset
        raise UserError("the dataset has no raw folder", where=dataset,
                        expected=" or ".join(str(root / dataset) for root in self.raw_roots()))

    def has_raw(self, dataset: str) -> bool:
        """Whether the raw folder of a dataset is there."""
        return any((root / dataset).is_dir() for root in self.raw_roots())

    def prepared(self, dataset: str) -> Path:
        return below(self.home / "prepared", dataset)

    def fingerprint(self, dataset: str) -> Path:
        return self.prepared(dataset) / "fingerprint.json"

    def plan(self, dataset: str, planner: str) -> Path:
        return below(self.prepared(dataset), f"plan_{planner}.json")

    def splits(self, dataset: str) -> Path:
        return self.prepared(dataset) / "splits.json"

    def cases(self, dataset: str, planner: str, configuration: str) -> Path:
        """Folder of the prepared cases of one configuration."""
        return below(self.prepared(dataset), f"{planner}_{configuration}")

    def transforms(self, dataset: str) -> Path:
        """Folder of what registration found for each case."""
        return self.prepared(dataset) / "registration"

    @property
    def pseudonym_key(self) -> Path:
        """The secret by which names of patients become pseudonyms (`workspace/secret.py`)."""
        return self.home / "pseudonyms.key"

    def plans(self, dataset: str) -> dict[str, Path]:
        """The plan files of a dataset by the name of their planner."""
        return {path.stem.removeprefix("plan_"): path for path in sorted(self.prepared(dataset).glob("plan_*.json"))}

    def model(self, dataset: str, planner: str, configuration: str) -> ModelFolder:
        return ModelFolder(below(self.models_root, dataset, planner, configuration))

    def models(self, dataset: str | None = None) -> list[ModelFolder]:
        """The models that have a plan, of one dataset or of all, in the order of their names."""
        return [ModelFolder(path.parent) for path in sorted(self.models_root.glob(f"{dataset or 'Dataset*'}/*/*/plan.json"))]

    def models_without_plan(self) -> list[ModelFolder]:
        """The models that have a finished fold, but whose plan is gone."""
        folders = {path.parent.parent for path in self.models_root.glob("Dataset*/*/*/fold_*/result.json")}
        return [ModelFolder(folder) for folder in sorted(folders) if not ModelFolder(folder).has_plan]

    def fold(self, dataset: str, planner: str, configuration: str, fold: int | str) -> FoldFolder:
        return self.model(dataset, planner, configuration).fold(fold)

    def inference_settings(self, dataset: str) -> Path:
        """What predictions of this dataset use, as cross-validation decided."""
        return self._models(dataset) / INFERENCE_JSON

    def datasets_with_models(self) -> list[str]:
        """Names of the datasets that have a finished fold or inference settings."""
        finished = {model.dataset for model in self.models() if model.folds}
        return sorted(finished | {path.parent.name for path in self.models_root.glob("Dataset*/inference.json")})

    def selection(self, dataset: str) -> Path:
        """What was compared to decide it."""
        return self._models(dataset) / "selection.json"

    def race(self, dataset: str) -> Path:
        """The race of configurations for a total time: its rungs, its decisions and its winner."""
        return self._models(dataset) / "race.json"

    def race_plan(self, dataset: str, planner: str) -> Path:
        """The plan of a planner as it was when the race started."""
        return below(self._models(dataset), f"race_plan_{planner}.json")

    def race_seconds(self, dataset: str) -> Path:
        """The time that a run with a total has taken, all its starts together."""
        return self._models(dataset) / "race_seconds.json"

    def input_comparison(self, dataset: str) -> Path:
        """The comparison of sets of inputs: what each was worth, and which was chosen."""
        return self._models(dataset) / "inputs.json"

    def input_seconds(self, dataset: str) -> Path:
        """The time that a comparison of inputs has taken, all its starts together."""
        return self._models(dataset) / "inputs_seconds.json"

    def report(self, dataset: str) -> Path:
        return self._models(dataset) / "report.html"

    def report_log(self, dataset: str) -> Path:
        """The output of the process that made the report for the web service."""
        return self._models(dataset) / "report_log.txt"

    def external(self, dataset: str, other: str) -> Path:
        """Folder of the masks that the models of a dataset predict of another."""
        return below(self._models(dataset), "external", other)

    def external_result(self, dataset: str, other: str) -> Path:
        """The scores of these masks."""
        return self._models(dataset) / f"external_{int(_number_and_name(other)[0])}.json"

    def external_results(self, dataset: str) -> list[Path]:
        """The scores on all other datasets, in the order of their names."""
        return sorted(self._models(dataset).glob("external_*.json"))

    @property
    def jobs(self) -> Path:
        """What jobs of Slurm are given, and what they print: a file each, by the number of the job."""
        return self.home / "jobs"

    @property
    def models_root(self) -> Path:
        return self.home / self.models_name

    @property
    def twins(self) -> "Workspace":
        """The same workspace with the models that were trained from scratch beside those that began from another model: in
        a folder of their own, so that nothing predicts with them or chooses among them.
        """
        return replace(self, models_name="twins")

    def _models(self, dataset: str) -> Path:
        return below(self.models_root, dataset)


def _number_and_name(dataset: str) -> tuple[str, str]:
    """`004` and `Hippocampus` of `Dataset004_Hippocampus`."""
    number, _, name = dataset.removeprefix("Dataset").partition("_")
    return number, name
