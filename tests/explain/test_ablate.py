"""What a model needs is found by taking it away: stub models whose inputs are known, in cases of a few voxels."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.base.errors import ManyFaults, UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import ablate as command
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import NO_CONDITIONS
from autoseg.clinical.encoders import fit_encoder
from autoseg.datasets.case import PreparedCase
from autoseg.explain import ablate as ablate_module
from autoseg.explain.ablate import ablate_fold
from autoseg.explain.ablation import Ablation
from autoseg.formats import write_label
from autoseg.grids.geometry import Geometry
from autoseg.nn.conditioning import CONDITIONERS, ConditionerTraits
from autoseg.nn.conditioning.patient import known_values
from autoseg.nn.model import build_model
from autoseg.nn.networks import NETWORKS, NetworkTraits
from autoseg.preprocessing.store import write_prepared
from autoseg.training.job import FoldJob
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.folders import FoldFolder
from planners.registry import Entry, NoOptions
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec
from tests_support import small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
LABELS = LabelSpec(names={"background": (0,), "lesion": (1,)})
SHAPE = (8, 8, 8)
NAMES = tuple(f"case_{i}" for i in range(8))
TRAINED = ("other_0", "other_1")
CT, PET, MR = ChannelSpec(name="CT"), ChannelSpec(name="PET", required=False), ChannelSpec(name="MR", required=False)
TABLE = ConditionTable(table="table.csv", specs=(ConditionSpec(name="side", kind="number"),
                                                 ConditionSpec(name="age", kind="number")))


class Threshold(nn.Module):
    """A network that finds a lesion where the first channel is above 0.8, and looks at nothing else."""

    def __init__(self, options, context):
        super().__init__()

    def encode(self, image):
        return [image]

    def decode(self, features, every_stage):
        lesion = features[0][:, :1] - 0.8
        return [torch.cat([torch.zeros_like(lesion), lesion], dim=1)]


class Side(nn.Module):
    """A conditioner by which the first value says whether the second channel is added to the first or taken from it."""

    def __init__(self, options, context):
        super().__init__()

    def forward(self, features, conditions):
        side = known_values(conditions)[0][:, 0].view(-1, 1, 1, 1, 1)
        image = features[0].clone()
        image[:, 0] += side[:, 0] * image[:, 1]
        return [image]


@pytest.fixture(autouse=True)
def _stubs(monkeypatch):
    monkeypatch.setitem(NETWORKS._entries, "threshold", Entry("threshold", Threshold, NoOptions, NetworkTraits()))
    monkeypatch.setitem(CONDITIONERS._entries, "side", Entry("side", Side, NoOptions, ConditionerTraits()))


@pytest.fixture
def predictions(monkeypatch) -> list[tuple[str, tuple[bool, ...], CaseConditions]]:
    """What was predicted: the case, its channels, its conditions."""
    done, predict = [], ablate_module.predict_prepared

    def counted(models, prepared, *arguments, conditions, **options):
        done.append((prepared.name, tuple(prepared.present_C.tolist()), conditions))
        return predict(models, prepared, *arguments, conditions=conditions, **options)

    monkeypatch.setattr(ablate_module, "predict_prepared", counted)
    return done


def left_and_right(index: int) -> tuple[np.ndarray, np.ndarray]:
    """The lesion of a case and a place that looks like it: left in even cases, right in odd ones."""
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[2:5, 2:6, 1:3], right[2:5, 2:6, 5:7] = True, True
    return (left, right) if index % 2 == 0 else (right, left)


def side_of(index: int) -> float:
    return 1.0 if index % 2 == 0 else -1.0


@pytest.fixture
def fold_of(tmp_path):
    """A finished fold, and its labels: `shown(index)` are the channels of a case, `lacking` its missing ones."""

    def make(channels, shown, *, lacking=lambda index: (), conditions=None, names=NAMES):
        plan = small_plan(labels=LABELS, n_channels=len(channels), network=Part(name="threshold"), patch=SHAPE,
                          conditioning=Part(name="side" if conditions else "none"))
        plan = plan.model_copy(update={"channels": channels, "conditions": TABLE if conditions else ConditionTable()})
        geometry, truths, known = Geometry(SHAPE, (1.0, 1.0, 1.0)), {}, {}
        for index, name in enumerate(names):
            present = np.array([channel not in lacking(index) for channel in range(len(channels))])
            write_prepared(tmp_path / "cases", PreparedCase(
                name=name, image_CDHW=np.stack(shown(index)).astype(np.float32), present_C=present, geometry=geometry,
                transpose=(0, 1, 2), box=tuple((0, n) for n in SHAPE), cropped_shape=SHAPE, spacing_mm=(1.0, 1.0, 1.0)))
            truths[name] = tmp_path / "labels" / f"{name}.nii.gz"
            write_label(truths[name], left_and_right(index)[0].astype(np.uint8), geometry)
            known[name] = conditions(index) if conditions else CaseConditions()
        training = [CaseConditions(values={"side": side, "age": age}) for side, age in ((-1.0, 40.0), (1.0, 60.0))]
        encoder = fit_encoder(TABLE, training) if conditions else None
        job = FoldJob(plan=plan, name="3d_fullres", fold=0, folder=FoldFolder(tmp_path / "fold_0"), encoder=encoder,
                      cases=tmp_path / "cases", training=TRAINED, validation=tuple(names), conditions=known)
        model = build_model(plan, job.configuration, encoder.layout if encoder else NO_CONDITIONS)
        save_weights(job.folder.checkpoint, model.state_dict(),
                     {"training": list(TRAINED), "encoder": encoder and encoder.model_dump()})
        write_json(job.folder.result, {})
        return job, truths

    return make


def lesion_in_pet(index):
    """PET shows the lesion, CT and MR show nothing of it."""
    lesion = left_and_right(index)[0]
    return lesion, np.zeros(SHAPE), np.full(SHAPE, 0.5)


def table_of(index):
    return CaseConditions(values={"side": side_of(index), "age": 40.0 + index})


def two_alike(index):
    """The image has two places, of which a column says the true one: added to nothing, +1 left and -1 right."""
    left, right = left_and_right(0)
    return np.zeros(SHAPE), left.astype(float) - right


def found(ablation):
    return {finding.input: finding for finding in ablation.findings}


def by_name(ablation):
    return {row.name: row for row in ablation.rows}


def test_the_channel_that_shows_the_lesion_helps_and_the_other_does_nothing(fold_of):
    job, truths = fold_of((PET, CT, MR), lesion_in_pet)
    ablation = ablate_fold(job, truths, CPU)
    assert [row.name for row in ablation.rows] == ["all that each case has", "without PET", "without MR", "without PET, MR"]
    assert [row.mean.mean for row in ablation.rows] == [1.0, 0.0, 1.0, 0.0]
    assert found(ablation)["PET"].verdict == "helps" and found(ablation)["MR"].verdict == "nothing"
    assert found(ablation)["PET"].differences["without"].difference == 1.0
    assert ablation.every_subset and not ablation.mirroring and ablation.unscored == ()


def test_the_result_lies_beside_the_fold_as_json_and_as_text(fold_of):
    job, truths = fold_of((PET, CT, MR), lesion_in_pet)
    ablation = ablate_fold(job, truths, CPU)
    assert read_model(job.folder.path / "ablation.json", Ablation) == ablation
    assert "PET helps: with it the Dice is 1.000 higher" in (job.folder.path / "ablation.md").read_text(encoding="utf-8")


def test_a_case_is_compared_only_where_what_it_has_is_withheld(fold_of, predictions):
    lacking = {0: (0,), 1: (2,), 2: (0, 2)}  # no PET, no MR, neither
    job, truths = fold_of((PET, CT, MR), lesion_in_pet, lacking=lambda index: lacking.get(index, ()))
    rows = by_name(ablate_fold(job, truths, CPU))
    assert sorted(rows["without PET"].dice) == ["case_1", *NAMES[3:]]
    assert sorted(rows["without MR"].dice) == ["case_0", *NAMES[3:]]
    assert sorted(rows["without PET, MR"].dice) == list(NAMES[3:])
    assert rows["all that each case has"].mean.mean == pytest.approx(6 / 8)
    # Five cases are seen in four plans, two in two, one in one.
    assert Counter(Counter(name for name, *_ in predictions).values()) == {4: 5, 2: 2, 1: 1}


def test_no_case_is_left_without_a_channel(fold_of, predictions):
    job, truths = fold_of((PET, MR), lambda index: lesion_in_pet(index)[::2],
                          lacking=lambda index: (1,) if index == 0 else ())
    rows = by_name(ablate_fold(job, truths, CPU))
    assert list(rows) == ["all that each case has", "without PET", "without MR"]
    assert "case_0" not in rows["without PET"].dice and all(any(present) for _, present, _ in predictions)


def test_of_more_than_five_optional_channels_each_is_left_out_and_kept_alone(fold_of, predictions):
    optional = tuple(ChannelSpec(name=f"P{i}", required=False) for i in range(6))
    lacking = {0: tuple(range(2, 6)), 1: tuple(range(1, 6))}  # the first has P0 and P1, the second P0 alone
    job, truths = fold_of((*optional, CT), lambda index: [left_and_right(index)[0]] * 7,
                          lacking=lambda index: lacking.get(index, ()))
    ablation = ablate_fold(job, truths, CPU)
    rows = by_name(ablation)
    assert len(rows) == 1 + 6 + 6 and not ablation.every_subset
    assert sorted(rows["of the optional channels P0 alone"].dice) == ["case_0", *NAMES[2:]]
    assert rows["of the optional channels P0 alone"].mean.mean == 1.0  # the stub sees no other
    assert rows["of the optional channels P1 alone"].mean.mean == 0.0
    # To the first case "P0 alone" and "without P1" are the same: all, without P0, without P1.
    assert Counter(name for name, *_ in predictions)["case_0"] == 3


def test_the_column_that_decides_helps_and_the_other_does_nothing(fold_of):
    job, truths = fold_of((CT, CT), two_alike, conditions=table_of)
    ablation = ablate_fold(job, truths, CPU)
    rows = by_name(ablation)
    assert list(rows) == ["all that each case has", "conditions shuffled between the cases", "conditions all missing",
                          "without column side", "without column age"]
    assert {name: finding.verdict for name, finding in found(ablation).items()} == {
        "conditions": "helps", "column side": "helps", "column age": "nothing"}
    assert rows["conditions all missing"].mean.mean == 0.0
    assert 0.2 < rows["conditions shuffled between the cases"].mean.mean < 0.7  # half of the others are of the same side


def test_no_case_keeps_its_own_conditions_in_any_permutation(fold_of, predictions):
    job, truths = fold_of((CT, CT), two_alike, conditions=table_of)
    ablation = ablate_fold(job, truths, CPU)
    assert ablation.permutations == 5
    for index, name in enumerate(NAMES):
        seen = Counter(conditions.values.get("age") for case, _, conditions in predictions if case == name)
        # Its own: all that it has, and without the side. Of five others each once; none at all and without the age.
        assert seen.pop(40.0 + index) == 2 and seen.pop(None) == 2
        assert sorted(seen.values()) == [1] * 5


def test_no_scan_of_a_patient_gets_the_row_of_another_scan_of_this_patient(fold_of, predictions):
    job, truths = fold_of((CT, CT), two_alike, conditions=table_of)
    patients = {name: f"p{index // 2}" for index, name in enumerate(NAMES)}
    assert ablate_fold(job, truths, CPU, patients=patients).permutations == 3  # four patients with two scans each
    for index, name in enumerate(NAMES):
        seen = Counter(conditions.values.get("age") for case, _, conditions in predictions if case == name)
        assert seen.pop(40.0 + index) == 2 and seen.pop(None) == 2
        assert sorted(seen.values()) == [1] * 3 and not seen.keys() & {40.0 + (index ^ 1)}


def test_a_model_that_follows_the_table_against_the_image_is_suspected(fold_of):
    def enough(index):
        lesion, alike = left_and_right(index)
        return lesion + 0.6 * alike, two_alike(index)[1]

    job, truths = fold_of((CT, CT), enough, conditions=table_of)
    ablation = ablate_fold(job, truths, CPU)
    assert by_name(ablation)["conditions all missing"].mean.mean == 1.0  # the image alone suffices
    assert found(ablation)["conditions"].verdict == "shortcut"


def test_cases_of_which_nothing_is_known_are_not_shuffled(fold_of):
    job, truths = fold_of((CT, CT), two_alike,
                          conditions=lambda index: CaseConditions(values={"side": None}) if index < 2 else table_of(index))
    rows = by_name(ablate_fold(job, truths, CPU))
    for name in ("conditions shuffled between the cases", "conditions all missing", "without column side"):
        assert sorted(rows[name].dice) == list(NAMES[2:])


def test_the_conditions_of_a_single_case_cannot_be_shuffled(fold_of):
    job, truths = fold_of((CT, CT), two_alike, conditions=table_of, names=NAMES[:1])
    ablation = ablate_fold(job, truths, CPU)
    assert ablation.permutations == 0 and by_name(ablation)["conditions shuffled between the cases"].mean.n == 0
    assert {finding.verdict for finding in ablation.findings} == {"few"}


def test_a_stopped_run_goes_on_and_a_finished_one_predicts_nothing(fold_of, predictions, monkeypatch):
    job, truths = fold_of((PET, CT, MR), lesion_in_pet)
    score, calls = ablate_module.score_case, iter(range(100))

    def interrupted(*arguments, **options):
        if next(calls) == 10:
            raise KeyboardInterrupt
        return score(*arguments, **options)

    monkeypatch.setattr(ablate_module, "score_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablate_fold(job, truths, CPU)
    monkeypatch.setattr(ablate_module, "score_case", score)
    predictions.clear()
    first = ablate_fold(job, truths, CPU)
    assert len(predictions) == 8 * 4 - 10
    assert ablate_fold(job, truths, CPU) == first and len(predictions) == 8 * 4 - 10


def test_other_weights_or_mirroring_are_predicted_anew(fold_of, predictions):
    job, truths = fold_of((PET, CT), lambda index: lesion_in_pet(index)[:2])
    ablate_fold(job, truths, CPU)
    ablate_fold(job, truths, CPU, mirroring=True)
    assert len(predictions) == 2 * 16
    save_weights(job.folder.checkpoint, {"fusion.fill": torch.ones(2)}, {"training": list(TRAINED)})
    again = ablate_fold(job, truths, CPU)
    assert len(predictions) == 3 * 16 and by_name(again)["without PET"].mean.mean > 0  # the fill is a lesion everywhere


def test_a_case_that_cannot_be_read_is_named_and_the_others_are_scored(fold_of):
    job, truths = fold_of((PET, CT, MR), lesion_in_pet)
    (job.cases / "case_3.json").unlink()
    write_label(truths["case_4"], np.zeros((4, 4, 4), np.uint8), Geometry((4, 4, 4), (1.0, 1.0, 1.0)))
    ablation = ablate_fold(job, truths, CPU)
    assert len(ablation.unscored) == 2 and "case_3" in ablation.unscored[0] and "grid" in ablation.unscored[1]
    assert all(len(row.dice) == 6 for row in ablation.rows)
    for name in NAMES:
        (job.cases / f"{name}.json").unlink(missing_ok=True)
    with pytest.raises(ManyFaults, match="8 faults"):
        ablate_fold(job, truths, CPU)


def test_what_was_not_annotated_is_left_out_and_counted(fold_of):
    job, truths = fold_of((PET, CT), lambda index: lesion_in_pet(index)[:2])
    ablation = ablate_fold(replace(job, annotated={"case_0": ()}), truths, CPU)
    assert (ablation.rows[1].difference.n, ablation.rows[1].difference.n_left_out) == (7, 1)


def test_a_fold_that_is_not_finished_is_refused(fold_of):
    job, truths = fold_of((PET, CT), lambda index: lesion_in_pet(index)[:2])
    job.folder.result.unlink()
    with pytest.raises(UserError, match=r"not finished.*autoseg_train Dataset001_Spheres 3d_fullres 0"):
        ablate_fold(job, truths, CPU)


def test_the_fold_of_all_cases_is_refused(fold_of):
    job, truths = fold_of((PET, CT), lambda index: lesion_in_pet(index)[:2])
    with pytest.raises(UserError, match="no validation case"):
        ablate_fold(replace(job, fold="all", validation=()), truths, CPU)


@pytest.mark.parametrize("channels", [(CT, CT), (PET,)])
def test_a_model_that_can_do_without_nothing_is_refused_with_what_to_declare(fold_of, channels):
    job, truths = fold_of(channels, lambda index: lesion_in_pet(index)[: len(channels)])
    with pytest.raises(UserError, match=r"nothing to ablate.*'optional_channels' or 'conditions' in dataset.json"):
        ablate_fold(job, truths, CPU)


def test_a_case_that_was_trained_on_proves_nothing(fold_of):
    job, truths = fold_of((PET, CT), lambda index: lesion_in_pet(index)[:2])
    save_weights(job.folder.checkpoint, {"fusion.fill": torch.zeros(2)}, {"training": ["case_2"]})
    with pytest.raises(UserError, match=r"folds were changed.*case_2"):
        ablate_fold(job, truths, CPU)


def test_the_command_passes_its_options_on_and_prints_what_was_found(fold_of, monkeypatch, capsys):
    from autoseg import pipeline

    job, truths = fold_of((PET, CT), lambda index: lesion_in_pet(index)[:2])
    asked = []

    def ablate(*names, **options):
        asked.append((names, options))
        return ablate_fold(job, truths, CPU, seed=options["seed"], mirroring=options["mirroring"])

    monkeypatch.setattr(pipeline, "ablate", ablate, raising=False)
    assert command.main(["1", "3d_fullres", "0", "--seed", "7", "--mirroring", "on", "--home", "here"]) == 0
    (names, options), = asked
    assert names == ("1", "3d_fullres", "0") and json.dumps(options, sort_keys=True) == json.dumps(
        {"device": "auto", "home": "here", "mirroring": True, "planner": "budgeted", "seed": 7})
    printed = capsys.readouterr().out
    assert "| without PET" in printed and "- PET helps" in printed and "seed 7" in printed
