"""A raw dataset as one stage sees it: what the stage asks for is read from the disk once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from autoseg.base.errors import UserError, raise_faults
from autoseg.clinical.conditions import ConditionsOf, read_conditions
from autoseg.clinical.outcome_leaks import leaks
from autoseg.clinical.outcomes import OutcomesRead, read_outcomes
from autoseg.clinical.table import Table, read_table
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.declared_columns import (
    Groups,
    KnownGroups,
    annotated_names,
    case_weights,
    group_of,
    known_groups,
    table_warnings,
)
from autoseg.datasets.digests import case_digest, dataset_digest, map_files, transforms_of
from autoseg.datasets.manifest import Manifest, parse_manifest
from autoseg.datasets.modalities import training_modalities
from autoseg.datasets.raw import ScannedCases, find_training_cases, scan_cases, scan_training_cases
from autoseg.formats.files import is_file, is_folder, read_text
from autoseg.workspace.names import DATASET_JSON
from planners.schema.conditions import ConditionTable
from planners.schema.plan import Plan


@dataclass(frozen=True, eq=False)
class Dataset:
    """A raw dataset. The manifest is read when it is opened; cases and table are read when they are first asked for.

    A stage opens one and passes it on. The next stage opens its own, because files may have changed.
    """

    file: Path  # dataset.json, or a file of another name with such content
    manifest: Manifest
    outcomes: tuple[str, ...] = ()  # a sentence for each condition that looks like an outcome
    region_faults: tuple[str, ...] = ()  # why even a perfect prediction of the regions would be written as another
    images_alone: bool = False  # no case has a label (`datasets.unlabelled`)
    whole: "Dataset | None" = None  # the dataset with all channels, where this one has `numbers` of them alone
    numbers: tuple[int, ...] = ()
    grid_number: int | None = None  # of the channel on whose grid its cases lie, where it is none of `numbers`

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """The dataset of a folder, or of a `dataset.json` that bears any name.

        Raises UserError, or ManyFaults with every fault of the file. Conditions that look like outcomes, and
        regions that cannot be written, are no faults.
        """
        file = path if is_file(path) else path / DATASET_JSON
        if not is_folder(file.parent):
            raise UserError("the dataset's folder is missing", where=path)
        parsed = parse_manifest(read_text(file), file)
        return cls(file, parsed.manifest, parsed.outcomes, parsed.region_faults)

    def seen_by(self, plan: Plan) -> "Dataset":
        """The dataset as a plan sees it, without the channels that it leaves out.

        Labels lie on the grid of the reference channel. Where that is left out, a channel that is brought there still is, so
        that all models are scored on one grid.
        """
        if not plan.channel_numbers:
            return self
        known = tuple(number for number in plan.channel_numbers if number < len(self.manifest.channels))
        channels = tuple(self.manifest.channels[number] for number in known)
        columns = {channel.name: self.manifest.modality_columns[channel.name] for channel in channels
                   if channel.name in self.manifest.modality_columns}
        manifest = self.manifest.model_copy(update={"channels": channels, "modality_columns": columns})
        return replace(self, manifest=manifest, whole=self, numbers=known,
                       grid_number=plan.grid_number)

    @property
    def folder(self) -> Path:
        return self.file.parent

    def refuse_outcomes(self) -> None:
        """UserError or ManyFaults where a condition looks like an outcome."""
        raise_faults(self.file, self.outcomes)

    def refuse_regions(self) -> None:
        """UserError or ManyFaults where regions cannot be written into a mask."""
        raise_faults(self.file, self.region_faults)

    @cached_property
    def scanned(self) -> ScannedCases:
        """The training cases, and what is wrong with the set of files; for a stage that reports faults. All channels, where
        this is a dataset of some.
        """
        if self.whole is not None:
            return self.whole.scanned
        if self.images_alone:
            return scan_cases(self.folder / "imagesTr", self.manifest.channels, self.manifest.file_ending)
        return scan_training_cases(self.folder, self.manifest)

    @cached_property
    def cases(self) -> tuple[CaseFiles, ...]:
        """The training cases in the order of their names. Raises its faults."""
        if self.whole is not None:
            return tuple(files.of_channels(self.numbers, self.grid_number) for files in self.whole.cases)
        return self.with_modalities(find_training_cases(self.folder, self.manifest, self.scanned))

    def with_modalities(self, cases: Sequence[CaseFiles]) -> tuple[CaseFiles, ...]:
        """Cases of this dataset with the modalities that its table says, as `training_modalities`."""
        return training_modalities(cases, self.folder, self.manifest, self._read_table)

    @property
    def names(self) -> list[str]:
        """The names of the training cases, sorted. Raises what `cases` raises."""
        return sorted(case.name for case in self.cases)

    def case(self, name: str) -> CaseFiles:
        """The files of one training case; KeyError where there is none of this name. Raises what `cases` raises."""
        return self._by_name[name]

    @cached_property
    def table(self) -> Table:
        """The clinical table that the manifest declares; a UserError where it is missing or damaged."""
        return read_table(self.folder / self.manifest.conditions.table)

    def conditions(self, names: Sequence[str], declared: ConditionTable | None = None) -> ConditionsOf:
        """What the table, vectors and tokens say of cases; `declared` may be those of a plan, which was made earlier."""
        return read_conditions(self.folder, declared or self.manifest.conditions, names, read=self._read_table)

    def outcomes_of(self, names: Sequence[str], wanted: Collection[str] | None = None) -> OutcomesRead:
        """The outcomes of cases, as `read_outcomes`: all that are declared, or those `wanted`."""
        specs = {name: spec for name, spec in self.manifest.outcomes.items() if wanted is None or name in wanted}
        return read_outcomes(self.folder, self.manifest.conditions, specs, names, read=self._read_table)

    def outcome_leaks(self, read: OutcomesRead, declared: ConditionTable | None = None) -> tuple[str, ...]:
        """A sentence for each condition that says an outcome, as `leaks`. Raises what `conditions` raises."""
        known = {case for outcome in read.outcomes.values() for case in outcome.cases}
        conditions = self.conditions(sorted(known), declared).cases
        return tuple(leak for outcome in read.outcomes.values() for leak in leaks(outcome, conditions))

    def groups(self, names: Sequence[str] | None = None) -> Groups:
        """The patient and the site of each case (`group_of`); of the training cases unless `names` are given."""
        return group_of(self.folder, self.manifest, self.names if names is None else names, self._read_table)

    def known_groups(self) -> KnownGroups:
        """The groups of the training cases of which the table says them, as `known_groups`."""
        return known_groups(self.folder, self.manifest, self.names, self._read_table)

    def annotated(self, names: Sequence[str] | None = None) -> Mapping[str, tuple[str, ...]] | None:
        """The labels annotated in each case, as `annotated_names`; of the training cases unless `names` are given."""
        return annotated_names(self.folder, self.manifest, self.names if names is None else names, self._read_table)

    def weights(self, names: Sequence[str] | None = None) -> Mapping[str, float] | None:
        """How often each case is drawn, as `case_weights`; of the training cases unless `names` are given."""
        return case_weights(self.folder, self.manifest, self.names if names is None else names, self._read_table)

    def table_warnings(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """What is odd about the table of groups and annotations, as `table_warnings`; of the training cases as above."""
        return table_warnings(self.folder, self.manifest, self.names if names is None else names, self._read_table)

    def digest(self, transforms: Path | None = None) -> str:
        """Digest of the content of all training files and tables, channels and labels, as a fingerprint of them has it.

        `transforms` is the folder of what registration found.
        """
        cases = self.cases
        digests = map_files(lambda files: case_digest(files, transforms_of(transforms, files)), cases,
                            cases[0].images if cases else ())
        return dataset_digest(self.folder, self.manifest,
                              {files.name: digest for files, digest in zip(cases, digests, strict=True)})

    @cached_property
    def _by_name(self) -> dict[str, CaseFiles]:
        return {case.name: case for case in self.cases}

    def _read_table(self, path: Path) -> Table:
        return self.table if path == self.folder / self.manifest.conditions.table else read_table(path)


def read_manifest(path: Path) -> Manifest:
    """What a dataset's folder, or a `dataset.json` that bears any name, declares. Raises what `Dataset.open` raises."""
    return Dataset.open(path).manifest
