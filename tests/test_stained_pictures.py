"""Histology through the console commands: pictures in two stainings and tiles of the patients, from files to masks."""

import json

import numpy as np
import pytest

from autoseg.cli import plan_and_preprocess, predict, tokens, train, verify
from autoseg.formats import read_image, write_array, write_label
from autoseg.formats.arrays import features_shape
from autoseg.formats.natural import flat_geometry
from autoseg.preprocessing.store import open_cases
from autoseg.workspace.names import Workspace
from stained_tiles import PUBLISHED, random_amounts, random_stains, stained

DATASET = "Dataset061_Nuclei"
SIDE = 48
TINY = ["--set", "schedule.iterations=2", "--set", "schedule.iterations_per_epoch=1",
        "--set", "architecture.features=[4, 8]",
        "--set", "architecture.strides=[[1,1],[2,2]]", "--set", "architecture.kernel_sizes=[[3,3],[3,3]]",
        "--set", "architecture.blocks_encoder=[1,1]", "--set", "architecture.convs_decoder=[1]", "--set", "patch=[32,32]",
        "--set", "architecture.encoder=plain", "--set", "batch=2"]


def write_case(folder, name, ending, amounts, stains):
    """One picture, and three tiles of the patient, one of which is blank."""
    geometry = flat_geometry(SIDE, SIDE)
    picture = np.moveaxis(stained(amounts, stains), -1, 0)[:, None]
    write_array(folder / f"{name}_0000{ending}", picture, geometry)
    for number, tile in enumerate((picture, picture[..., ::-1], np.full_like(picture, 242))):
        write_array(folder.parents[2] / "tiles" / name / f"{number}{ending}", tile, geometry)
    return geometry


@pytest.fixture(scope="module", params=[".png", ".tif"])
def home(request, tmp_path_factory):
    """Four pictures of two tissues in two stainings each, with tiles as tokens, prepared; one more tissue to predict."""
    home, ending = tmp_path_factory.mktemp("home"), request.param
    raw, rng = home / "raw" / DATASET, np.random.default_rng(5)
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "rgb_to_0_1", "1": "rgb_to_0_1", "2": "rgb_to_0_1"}, "file_ending": ending,
        "labels": {"background": 0, "nucleus": 1}, "preprocess": "macenko",
        "conditions": {"tokens": {"histology": "tokens/histology"}}}))
    for tissue in ("a", "b", "c"):
        amounts = random_amounts(rng, SIDE)
        for staining in ("1", "2"):
            place = raw / ("imagesTs" if tissue == "c" else "imagesTr")
            stains = PUBLISHED if staining == "1" else random_stains(rng)
            geometry = write_case(place, f"{tissue}{staining}", ending, amounts, stains)
            if tissue != "c":
                label = (amounts[0] > 0.5).astype(np.int16)[None]
                write_label(raw / "labelsTr" / f"{tissue}{staining}{ending}", label, geometry)
    common = ["--home", str(home)]
    assert tokens.main(["-d", "61", "--tiles", str(home / "tiles"), "--preprocess", "macenko", "--device", "cpu",
                        *common]) == 0
    assert verify.main(["-d", "61", "--workers", "1", *common]) == 0
    assert plan_and_preprocess.main(["-d", "61", "-c", "2d", "-p", "classic", "--workers", "1", "--device", "cpu",
                                     *common]) == 0
    return home


def test_the_plan_has_the_preprocessor_and_says_why(home):
    plan = json.loads((home / "prepared" / DATASET / "plan_classic.json").read_text())
    assert plan["configurations"]["2d"]["preprocess"]["name"] == "macenko"
    assert any("macenko" in reason for reason in plan["reasons"])


def test_every_case_has_a_bag_where_training_and_prediction_look_for_it(home):
    raw = home / "raw" / DATASET
    shapes = [features_shape(path) for path in sorted(raw.rglob("*.npy"))]
    assert {path.relative_to(raw).as_posix() for path in raw.rglob("*.npy")} == {
        *(f"tokens/histology/{case}.npy" for case in ("a1", "a2", "b1", "b2")),
        *(f"imagesTs/tokens/histology/{case}.npy" for case in ("c1", "c2"))}
    assert all(shape == (2, shapes[0][1]) for shape in shapes)
    plan = json.loads((home / "prepared" / DATASET / "plan_classic.json").read_text())
    assert plan["configurations"]["2d"]["conditioning"]["name"] == "tokens"


def test_two_stainings_of_one_tissue_are_prepared_alike(home):
    cases = open_cases(Workspace.open(home).cases(DATASET, "classic", "2d"), ["a1", "a2", "b1", "b2"])
    image = {case.name: case.image_CDHW[:] for case in cases}
    for tissue in "ab":
        assert np.abs(image[f"{tissue}1"] - image[f"{tissue}2"]).mean() < 2 / 255


def test_another_preprocessor_prepares_the_cases_again(home, caplog):
    raw, command = home / "raw" / DATASET / "dataset.json", ["-d", "61", "-c", "2d", "--workers", "1", "--device", "cpu",
                                                             "--home", str(home), "-p", "classic"]
    prepared = Workspace.open(home).cases(DATASET, "classic", "2d")
    declared = json.loads(raw.read_text())
    images = []
    for preprocess in ("none", "macenko"):
        raw.write_text(json.dumps(declared | {"preprocess": preprocess}))
        assert plan_and_preprocess.main(command) == 0
        images.append(next(iter(open_cases(prepared, ["a2"]))).image_CDHW[:])
    assert np.abs(images[0] - images[1]).mean() > 5 / 255


@pytest.mark.parametrize("home", [".png"], indirect=True)
def test_a_model_that_tokens_condition_predicts_two_stainings_of_one_tissue_alike(home, tmp_path):
    common = ["--home", str(home), "--device", "cpu"]
    assert train.main(["61", "2d", "0", "-p", "classic", *TINY, *common]) == 0
    assert predict.main(["-i", str(home / "raw" / DATASET / "imagesTs"), "-o", str(tmp_path), "--save_probabilities",
                         *common]) == 0
    one, other = (read_image(tmp_path / f"c{staining}_probabilities.tif")[0] for staining in "12")
    assert np.abs(one - other).mean() < 0.005 < one.std()
