"""Postprocessing of a folder of masks, whoever predicted them: rules that are given, or those that pay on a reference."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, case_fault, hint, listed, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.datasets.raw import checked_label
from autoseg.formats import open_source, read_header
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.mask_folders import MaskFolder, common_labels, open_masks, written_values
from autoseg.prediction.postprocess import apply
from autoseg.selection.cases import CandidateCase
from autoseg.selection.steps import choose_steps
from autoseg.selection.types import Comparison
from autoseg.workspace.files import check_writable, read_model, write_json
from autoseg.workspace.partial import remove_leftovers
from autoseg.workspace.paths import below
from planners.schema.base import Frozen, versioned
from planners.schema.labels import LabelSpec

logger = logging.getLogger(__name__)

_FEWEST = 2  # cases of which a paired difference has an interval
RULES = "postprocessing.json"  # beside the masks that were written


class Rules(Frozen):
    """What is done to masks of these labels (name -> the value of masks), and what was measured to choose it."""

    schema_version: int = versioned(1)
    labels: dict[str, int]
    postprocessing: Postprocessing
    n_cases: int = 0  # on which they were chosen; 0: somebody said them
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Postprocessed:
    """The rules, how many masks were written, how many of them changed, and a sentence for each that was not written."""

    rules: Rules
    n_masks: int
    n_changed: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    name: str
    mask: Path
    target: Path
    labels: LabelSpec
    steps: Postprocessing


@dataclass(frozen=True)
class _Done:
    is_changed: bool = False
    fault: str = ""


def labels_of_masks(source: Path, declared: LabelSpec | None) -> LabelSpec:
    """The labels of a folder's masks. Raises UserError where nothing says them, or two files say different ones."""
    labels = common_labels([open_masks(source)], declared)
    if labels is None:
        raise UserError("nothing says what the values of these masks are", where=source,
                        do="name the dataset with -d, or its dataset.json with --dataset_json")
    return labels


def chosen_rules(source: Path, reference: Path, labels: LabelSpec, *, annotated: Mapping[str, Sequence[str]] | None = None,
                 workers: int = 1, seed: int = 0) -> Rules:
    """The rules that improve the masks of `source` on the true labels of a folder, by the search of cross-validation: a rule
    is accepted where the 95 % interval of the paired difference in Dice lies above 0. Cases that have a mask and a true
    label count; a warning names the others.

    Raises UserError where a true label lies on another grid than its mask, and where fewer than two cases have both.
    """
    masks, truths = open_masks(source).masks, open_masks(reference).masks
    others = sorted(truths.keys() ^ masks.keys())
    truths = {name: truth for name, truth in truths.items() if name in masks}
    if len(truths) < _FEWEST:
        raise UserError("too few cases have a mask and a true label to say which rules pay", where=reference,
                        found=len(truths), expected=f"{_FEWEST} or more, with the same names in both folders",
                        do="name the folder of the true labels with -r")
    if others:
        logger.warning("rules are chosen on the %d cases that have a mask and a true label, without %d others: %s",
                       len(truths), len(others), listed(others))
    faults = [f"case {name}: {difference}" for name, truth in truths.items()
              if (difference := read_header(truth).geometry.difference(read_header(masks[name]).geometry))]
    raise_faults(source, [f"{fault} (between the mask and its reference)" for fault in faults])
    cases = [CandidateCase(name=name, truth=truth, labels=labels, mask=masks[name], probabilities=(),
                           annotated=tuple((annotated or {}).get(name, labels.foreground)))
             for name, truth in truths.items()]
    steps, comparisons = choose_steps(cases, labels, workers, seed)
    return Rules(labels=written_values(labels), postprocessing=steps, n_cases=len(cases), comparisons=tuple(comparisons))


def given_rules(steps: Postprocessing, labels: LabelSpec) -> Rules:
    """Rules that somebody says. Raises UserError for a name that is none of the labels."""
    _refuse_unknown(steps, labels)
    return Rules(labels=written_values(labels), postprocessing=steps)


def _refuse_unknown(steps: Postprocessing, labels: LabelSpec, path: Path | None = None) -> None:
    for name in (*steps.keep_largest, *steps.fill_holes, *steps.minimum_ml):
        if name not in labels.foreground:
            raise UserError(f"no label is called {name!r}{hint(name, labels.foreground)}", where=path,
                            expected=listed(labels.foreground, len(labels.foreground)))


def read_rules(path: Path, labels: LabelSpec) -> Rules:
    """The rules of a file that `postprocess` wrote. Raises UserError where they are of other labels, or name an unknown one.
    """
    rules = read_model(path, Rules)
    if rules.labels != written_values(labels):
        raise UserError("the rules are of other labels than the masks", where=path, found=_said(rules.labels),
                        expected=_said(written_values(labels)))
    _refuse_unknown(rules.postprocessing, labels, path)
    return rules


def postprocess(source: Path, target: Path, rules: Rules, labels: LabelSpec, *, workers: int = 1) -> Postprocessed:
    """Write every mask of a folder into `target` after the rules, and the rules beside them. A mask that cannot be read, or
    that has undeclared values, is a fault of the result.
    """
    folder = open_masks(source)
    if not folder.masks:
        raise UserError("the folder holds probabilities and no mask", where=source,
                        do="autoseg_ensemble makes masks of probabilities")
    if target.resolve() == source.resolve():
        raise UserError("the masks would be replaced", where=target, do="name another folder with -o")
    check_writable(target)
    remove_leftovers(target)
    tasks = _tasks(folder, target, labels, rules.postprocessing)
    with progress_bar("postprocessing", len(tasks)) as bar:
        results = list(each_case(_write, tasks, workers, bar.update, effort=Effort("postprocessing", tried=1),
                                 died=lambda task, why: _Done(fault=f"case {task.name}: {why}")))
    faults = [result.fault for result in results if result.fault]
    if len(faults) == len(results):
        raise_faults(source, faults)
    write_json(target / RULES, rules)
    return Postprocessed(rules, len(results) - len(faults), sum(result.is_changed for result in results), tuple(faults))


def _tasks(folder: MaskFolder, target: Path, labels: LabelSpec, steps: Postprocessing) -> list[_Task]:
    return [_Task(name, mask, below(target, mask.name), labels, steps) for name, mask in folder.masks.items()]


def _write(task: _Task) -> _Done:
    try:
        source = open_source(task.mask)
        geometry = source.header().geometry
        before_DHW = checked_label(task.mask, task.labels)
        after_DHW = apply(task.steps, before_DHW, task.labels, geometry)
        source.writer(geometry).write_label(task.target, after_DHW)
        return _Done(is_changed=bool((before_DHW != after_DHW).any()))
    except Exception as error:
        return _Done(fault=case_fault(error, task.name))


def _said(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
