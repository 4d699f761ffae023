"""Trained models that stay in memory and predict case after case.

Within a configuration logits are averaged, between configurations probabilities, on the file's own grid.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from autoseg.base.errors import UserError, raise_faults
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.clinical.conditions import CaseConditions, read_conditions_to_predict
from autoseg.clinical.encoders import unlike_training
from autoseg.datasets.case import Case, CaseFiles, PreparedCase
from autoseg.datasets.dicom_cases import DicomInput, holds_dicom, scan_studies
from autoseg.datasets.dicom_conditions import cells_of_headers, with_headers
from autoseg.datasets.headers import case_warnings
from autoseg.datasets.orientation import orientation_doubt
from autoseg.datasets.raw import load_case, scan_cases
from autoseg.formats import read_header
from autoseg.formats.files import combined_digest, is_folder
from autoseg.formats.in_memory import Image
from autoseg.formats.results import DicomKind, DicomResults
from autoseg.formats.volume import Volume
from autoseg.prediction.arrays import check_arrays
from autoseg.prediction.collect import Progress
from autoseg.prediction.current_settings import read_current_settings, settings_of_model
from autoseg.prediction.decision import decided
from autoseg.prediction.in_memory import case_of_images, conditions_of, said_over
from autoseg.prediction.inference_settings import Adaptation, InferenceSettings, Postprocessing, QualityControl
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.modality import conditions_with_modality, files_with_modalities
from autoseg.prediction.models import FoldModel, choose_model, trained_model
from autoseg.prediction.passes import NO_VOXELS, mean_probabilities, n_stages, predict_alone
from autoseg.prediction.postprocess import apply
from autoseg.prediction.reopen import how_to_reopen, reopenable
from autoseg.prediction.segmentation import Prediction, Segmentation, as_images
from autoseg.prediction.uncertainty import Votes
from autoseg.prediction.watch import Cancel, Watch
from autoseg.workspace.archive import is_archive, opened
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace
from planners.rules.input_sets import joint_plan
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CasesToPredict:
    """The files of some cases, and by name what is known of them beside the images; `left_out` has a sentence for each file
    that is not predicted although it may be an image.
    """

    files: tuple[CaseFiles, ...]
    conditions: Mapping[str, CaseConditions]
    left_out: tuple[str, ...] = ()


class ReadyCase:
    """A case that waits for its prediction, and what the models will see of it, if that is prepared already."""

    def __init__(self, case: Case, prepared: PreparedCase | None = None):
        self.case, self._prepared = case, prepared

    def take(self) -> PreparedCase | None:
        """What the models will see, once, so that the caller can free it."""
        prepared, self._prepared = self._prepared, None
        return prepared


class Predictor:
    """One or several configurations of a dataset, each with its folds, which stay in memory. Threads may share one.

    >>> predictor = Predictor.open("liver.zip")  # or a folder of a model; or dataset=4, of the workspace
    >>> label = predictor.predict(SimpleITK.ReadImage("case.nii.gz")).label  # an image of SimpleITK
    >>> predictor.predict_file("case_0000.nii.gz").label_DHW.shape
    """

    def __init__(self, members: Sequence[ConfigurationModel], postprocessing: Postprocessing | None = None,
                 quality_control: QualityControl | None = None, modality: str = ""):
        if not all(member.plan.labels.means_the_same_as(members[0].plan.labels) for member in members):
            raise ValueError("the members of a predictor have the same labels")
        self.members, self.quality_control = tuple(members), quality_control
        self._plan = joint_plan([member.plan for member in members])
        self.postprocessing, self.modality = postprocessing or Postprocessing(), modality
        self._turn = threading.Lock()  # one case at a time is on the device
        self.opened_with: Mapping[str, Any] | None = None  # by `open`; None: it was made in memory

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the models again from their folders (`prediction.reopen`)."""
        return how_to_reopen(self)

    def __repr__(self) -> str:
        return (f"<Predictor {self.plan.dataset} {self.name} on {self.runtime.device}: {', '.join(self.channels)} -> "
                f"{', '.join(self.plan.labels.foreground)}>")

    @classmethod
    @reopenable
    def open(cls, folder: str | Path | None = None, *, dataset: str | int | None = None, configuration: str | None = None,
             planner: str | None = None, folds: Sequence[int | str] | None = None, home: str | Path | None = None,
             device: str = "auto", mirroring: bool = True, skip_background: bool = False, modality: str = "") -> "Predictor":
        """What `inference.json` says, where nothing but the dataset is named. Else the model of a folder, or of the
        workspace: the only dataset, the best configuration by validation Dice, all finished folds. A folder of the model
        that `inference.json` chose alone predicts with its postprocessing; the log says where a choice is not followed.
        Where `folder` is a model in one file (autoseg_export_model), it is opened like a workspace with one dataset.

        With `skip_background`, tiles that a coarse pass shows to be background are not predicted again
        (`prediction.collect`); a structure that this pass misses is lost. `modality` is that of all cases of which no table
        says it, for a model that takes several in one channel. Raises UserError where the choice is not clear, or
        `inference.json` is out of date.
        """
        if folder is not None and is_archive(Path(folder)):
            with opened(Path(folder)) as (inside, _):
                logger.info("the model is that of %s", folder)
                return Predictor.open(configuration=configuration, planner=planner, folds=folds, home=inside.home,
                                      device=device, mirroring=mirroring, skip_background=skip_background,
                                      modality=modality)
        name = None if dataset is None else str(dataset)
        if configuration is None and planner is None and folds is None and folder is None:
            workspace = Workspace.open(home)
            settings = read_current_settings(workspace, name)
            if settings is not None:
                return cls.from_settings(workspace, settings, device=device, mirroring=mirroring,
                                         skip_background=skip_background, modality=modality)
        if folder is not None:
            trained = trained_model(ModelFolder(Path(folder).resolve()))  # its name is that of the configuration
        else:
            trained = choose_model(Workspace.open(home), name, configuration, planner)
        member = ConfigurationModel.open(trained, folds=folds, device=device, mirroring=mirroring,
                                         skip_background=skip_background)
        is_named = folder is None or folds is not None
        settings = settings_of_model(trained, apply=not is_named)
        if settings is None:
            return cls([member], member.postprocessing, modality=modality)
        return cls([member], settings.postprocessing, settings.quality_control, modality)

    @classmethod
    def from_settings(cls, workspace: Workspace, settings: InferenceSettings, *, device: str = "auto",
                      mirroring: bool = True, skip_background: bool = False, modality: str = "") -> "Predictor":
        """The models that the settings name, with their postprocessing and their quality control."""
        logger.info("as %s says: %s", workspace.inference_settings(settings.dataset),
                    " + ".join(member.title for member in settings.members))
        runtime = open_runtime(device)
        folders = [trained_model(workspace.model(settings.dataset, member.planner, member.configuration))
                   for member in settings.members]
        members = [ConfigurationModel.open(folder, folds=member.folds, device=str(runtime.device),
                                           mirroring=mirroring, skip_background=skip_background)
                   for folder, member in zip(folders, settings.members, strict=True)]
        return cls(members, settings.postprocessing, settings.quality_control, modality)

    def adapting(self, adaptation: Adaptation) -> "Predictor":
        """The same models, of which copies are adapted to each case (`prediction.adapt`), without quality control: its rule
        was made for masks of models as they are.
        """
        other = Predictor([member.adapting(adaptation) for member in self.members], self.postprocessing,
                          modality=self.modality)
        other.opened_with = self.opened_with
        return other

    @property
    def adaptation(self) -> Adaptation | None:
        return self.members[0].adaptation

    @property
    def plan(self) -> Plan:
        """The first member's, with the channels and conditions of all: what it says of labels and files holds for all."""
        return self._plan

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the images that a case has, in their order."""
        return tuple(channel.name for channel in self.plan.channels)

    @property
    def labels(self) -> dict[str, tuple[int, ...]]:
        """What the values of a label mean: those of each name."""
        return dict(self.plan.labels.names)

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    @property
    def models(self) -> tuple[FoldModel, ...]:
        return tuple(model for member in self.members for model in member.models)

    @property
    def identity(self) -> str:
        """A digest of the weights and of how they predict: two predictors of one identity make the same masks."""
        members = [(member, member.previous) for member in self.members]
        weights = [model.digest for pair in members for member in pair if member is not None for model in member.models]
        first = self.members[0]
        how = str((first.mirroring, first.skip_background))
        more = [] if self.adaptation is None else [self.adaptation.model_dump_json()]
        more += [self.modality] if self.modality else []
        return combined_digest([*weights, self.postprocessing.model_dump_json(), how, *more])

    def in_dicom(self, kind: DicomKind) -> DicomResults:
        """How its masks are described as objects of DICOM."""
        labels = self.plan.labels
        return DicomResults(kind, {name: labels.names[name] for name in labels.foreground}, labels.heads,
                            f"{self.plan.dataset} {self.name}", self.identity)

    @property
    def runtime(self) -> Runtime:
        return self.members[0].runtime

    def find(self, source: str | Path | DicomInput, table: str | Path | None = None) -> CasesToPredict:
        """The cases of a folder, or the one of a file, and what is known of them beside the images; of a folder of DICOM one
        per study.

        `table` is a file; without it the table that training used is looked for beside the images, under its own name. What
        no table says is taken from the headers of DICOM, where they say it (`datasets/dicom_conditions.py`).
        Whatever is not found is missing, which a model that was trained with conditions can do without. It cannot do without
        the modality of a case, where a channel has several: cases of which nobody says it are left out.
        """
        path, beside = Path(source), None if table is None else Path(table)
        folder = path if is_folder(path) else path.parent
        plan = self.plan
        if isinstance(source, DicomInput) or holds_dicom(path):
            study = source if isinstance(source, DicomInput) else DicomInput(path)
            scanned = scan_studies(study, plan.channels, plan.channel_numbers)
        else:
            scanned = scan_cases(path, plan.channels, plan.file_ending, plan.channel_numbers, plan.grid_number)
        for warning in scanned.warnings:
            logger.warning("%s", warning)
        known_files = files_with_modalities(scanned.cases, self.plan, folder=folder, table=beside,
                                            said=self.modality)
        files, left_out = known_files.cases, (*scanned.faults, *known_files.faults)
        conditioned = [member for member in self.members if member.uses_conditions]
        if not conditioned:
            for_outcomes = any(member.folder is not None and member.folder.fitted_outcomes() for member in self.members)
            if table is not None and not self.plan.modality_columns and not for_outcomes:
                logger.warning("%s is not read: nothing but images conditions this model", table)
            return CasesToPredict(files, {}, left_out)
        cells = {case.name: said for case in files if (said := cells_of_headers(case, plan.channels))}
        known = read_conditions_to_predict(folder, plan.conditions, [case.name for case in files], table_path=beside,
                                           elsewhere=set().union(*cells.values()))
        conditions = {name: with_headers(name, of_table, cells[name], plan.conditions) if name in cells else of_table
                      for name, of_table in known.cases.items()}
        encoders = [model.encoder for member in conditioned for model in member.models if model.encoder is not None]
        for warning in (*known.warnings, *unlike_training(conditions, encoders)):
            logger.warning("%s", warning)
        return CasesToPredict(files, conditions_with_modality(conditions, plan, encoders, self.modality), left_out)

    def load(self, files: CaseFiles, conditions: Mapping[str, CaseConditions]) -> Case:
        """A case on its reference channel's grid; channels that training registered are registered."""
        transforms = None
        if any(channel.is_registered for channel in self.plan.channels):
            from autoseg.preprocessing.registration import register_case  # and with it SimpleITK

            transforms = {channel: result.transform
                          for channel, result in register_case(files, self.plan.channels).items()}
        case = load_case(files, self.plan.channels, transforms=transforms)
        doubt = orientation_doubt(case.name, case.geometry, self.plan.orientation)
        for warning in (*case_warnings(files, self.plan.channels), *doubt):
            logger.warning("%s", warning)
        return replace(case, conditions=conditions.get(files.name, CaseConditions()))

    def ready(self, case: Case) -> ReadyCase:
        """The case as far as it can be made ready without a model. What one model alone will see is prepared, and the
        voxels of the file are freed.
        """
        check_arrays(case, self.plan)
        member = self.members[0]
        if len(self.members) > 1 or member.previous is not None:
            return ReadyCase(case)
        return ReadyCase(replace(case, image_CDHW=NO_VOXELS, absent_CDHW=None), member.prepare(case))

    def seen_by(self, member: ConfigurationModel, case: Case) -> Case:
        """The case with the channels that a member takes, in its order."""
        numbers = self.plan.numbers
        return case.of_channels([numbers.index(number) for number in member.plan.numbers])

    def _predicting(self, case: Case) -> list[tuple[ConfigurationModel, Case]]:
        """The members with the case as each sees it; one of which the case has no channel at all is left out."""
        seen = [(member, self.seen_by(member, case)) for member in self.members]
        known = [(member, part) for member, part in seen if part.present_C.any()]
        if len(known) < len(seen):
            logger.warning("%s: predicted by %d of %d models, since it has no image for the others", case.name, len(known),
                           len(seen))
        return known

    def bytes_to_read(self, files: CaseFiles) -> int:
        """Memory that reading and preparing a case needs, from its headers: of each voxel the float32 that is read, the one
        that is checked and put in its channel, and the one that is normalised.
        """
        return sum(12 * header.n_channels * math.prod(header.geometry.shape)
                   for header in (read_header(files.source(path)) for path in files.images if path is not None))

    def bytes_to_predict(self, files: CaseFiles, *, all_heads: bool = False) -> int:
        """Memory that predicting a prepared case needs beside the image and the network, from its header; with `all_heads`
        for probabilities or uncertainty too.
        """
        geometry = next(read_header(files.source(path)).geometry for path in (files.grid, *files.images) if path is not None)
        n_voxels = math.prod(geometry.shape)
        bytes_of_heads = 2 * self.plan.labels.n_heads * n_voxels if all_heads or len(self.members) > 1 else 0
        return bytes_of_heads + max(member.bytes_to_predict(geometry) for member in self.members)

    def predict_file(self, path: str | Path, probabilities: bool = False, *, table: str | Path | None = None) -> Prediction:
        """The segmentation of the one case that a file, or a folder with its channels, holds. `table` is as in `find`."""
        return self.predict(self._read(path, table), probabilities)

    def _read(self, path: str | Path | DicomInput, table: str | Path | None = None) -> Case:
        cases = self.find(path, table)
        raise_faults(path, cases.left_out)
        if len(cases.files) != 1:
            raise UserError("one case was expected", where=path, found=f"{len(cases.files)} cases")
        return self.load(cases.files[0], cases.conditions)

    @overload
    def predict(self, images: Case, probabilities: bool = False, uncertainty: bool = False) -> Prediction: ...

    @overload
    def predict(self, images: str | Path | DicomInput, probabilities: bool = False, uncertainty: bool = False, *,
                conditions: Mapping[str, Any] | None = None, name: str = "image", progress: Progress | None = None,
                cancel: Cancel | None = None) -> Segmentation[Volume]: ...

    @overload
    def predict(self, images: Mapping[str, Image | None] | Sequence[Image | None] | Image, probabilities: bool = False,
                uncertainty: bool = False, *, conditions: Mapping[str, Any] | None = None, name: str = "image",
                progress: Progress | None = None, cancel: Cancel | None = None) -> Segmentation[Image]: ...

    def predict(self, images: Any, probabilities: bool = False, uncertainty: bool = False, *,
                conditions: Mapping[str, Any] | None = None, name: str = "image", progress: Progress | None = None,
                cancel: Cancel | None = None) -> Any:
        """The segmentation of a case of images (docs/reference/python.md): one `Volume`, SimpleITK or nibabel image, or
        path; a mapping from names of channels to them, or a sequence in the order of the channels (None: it lacks one).

        `conditions` is what is known of the patient, by name. `progress(done, total)` is called as it goes on, `cancel` (an
        event, or a function that says True) ends it with Cancelled. Messages call the case by its `name`. Raises UserError
        where images or conditions are not what the model takes. Of a `Case`, its arrays as a `Prediction`.
        """
        watch = Watch(progress, cancel)
        watch.check()
        case, alike = (images, None) if isinstance(images, Case) else self._case_of(images, name, conditions or {})
        check_arrays(case, self.plan)
        prediction = self.predict_ready(ReadyCase(case), probabilities, uncertainty, watch)
        return prediction if alike is None else as_images(prediction, alike, self.in_dicom("seg"))

    def _case_of(self, images: Any, name: str, said: Mapping[str, Any]) -> tuple[Case, Callable[[np.ndarray], Any]]:
        known = conditions_of(said, self.plan, any(member.uses_conditions for member in self.members))
        encoders = [model.encoder for model in self.models if model.encoder is not None]
        for warning in unlike_training({name: known}, encoders):
            logger.warning("%s", warning)
        if isinstance(images, str | Path | DicomInput):
            read = self._read(images)
            case = replace(read, conditions=said_over(read.conditions, known, said))
            return case, lambda array: Volume.on_grid(array, case.geometry)
        known = conditions_with_modality({name: known}, self.plan, encoders, self.modality)[name]
        case, alike = case_of_images(images, self.plan, name, known, self.modality)
        for doubt in orientation_doubt(name, case.geometry, self.plan.orientation):
            logger.warning("%s", doubt)
        return case, alike

    def predict_ready(self, ready: ReadyCase, probabilities: bool = False, uncertainty: bool = False,
                      watch: Watch | None = None) -> Prediction:
        """The segmentation of a case on its own grid, postprocessed, with its quality where that is known.

        `uncertainty` adds the entropy and the disagreement of the models. Of several configurations one array of all heads
        is held on the file's grid, as float16; for `uncertainty` another.
        """
        watch = watch or Watch()
        with watch.turn(self._turn):
            return self._predicted(ready, probabilities, uncertainty, watch)

    def _predicted(self, ready: ReadyCase, probabilities: bool, uncertainty: bool, watch: Watch) -> Prediction:
        case, labels = ready.case, self.plan.labels
        votes = None
        predicting = self._predicting(case) if len(self.members) > 1 else [(self.members[0], case)]
        members = [member for member, _ in predicting]
        if uncertainty or self.quality_control is not None:
            temperature = 1.0 if self.quality_control is None else self.quality_control.temperature
            n_models = sum(len(member.models) for member in members)
            votes = Votes(labels, case.geometry.shape, n_models, temperature, uncertainty)
        watch.begin(n_stages(members, votes))
        if len(self.members) == 1:
            prepared = ready.take() or members[0].prepare_all(case, watch)
            label, probabilities_KDHW = predict_alone(members[0], prepared, case, probabilities=probabilities, votes=votes,
                                                      watch=watch)
        else:
            probabilities_KDHW = mean_probabilities(predicting, votes, watch)
            label = decided(probabilities_KDHW, labels)
        label = apply(self.postprocessing, label, labels, case.geometry)
        quality = None if votes is None else votes.quality(case.name, self.quality_control)
        entropy, disagreement = votes.images() if votes is not None and uncertainty else (None, None)
        watch.finish()
        return Prediction(case, label, probabilities_KDHW if probabilities else None, quality, entropy, disagreement)
