"""The example of image translation: it runs, stays in range, brings images back, and warns."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from autoseg.formats import read_image, read_label, write_array, write_label
from tests_support import sphere_case

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def translate(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("translate")


@pytest.fixture
def folders(tmp_path):
    """Spheres that are bright in small numbers, and others that are dark in large ones; the labels of the first."""
    for index in range(4):
        case = sphere_case(f"ball_{index}", index, (15, 26, 30))
        kind = "a" if index < 2 else "b"
        values = case.image_CDHW if kind == "a" else 900 - 200 * case.image_CDHW
        write_array(tmp_path / kind / f"{case.name}_0000.nii.gz", values.astype(np.float32), case.geometry)
        if kind == "a":
            write_label(tmp_path / "labels" / f"{case.name}.nii.gz", case.label_DHW, case.geometry)
    return tmp_path


def test_the_command_warns_and_writes_images_in_the_unit_of_the_other_modality(translate, folders, capsys):
    translate.main(["-a", str(folders / "a"), "-b", str(folders / "b"), "-l", str(folders / "labels"),
                    "-o", str(folders / "out"), "--iterations", "2", "--size", "16", "--width", "4", "--device", "cpu"])
    assert "lesions may be added or removed" in capsys.readouterr().out
    assert "add lesions that are not there" in translate.__doc__.replace("\n", " ")
    bounds = np.median([volume.bounds for volume in translate.read_volumes(folders / "b")], axis=0)
    for name in ("ball_0", "ball_1"):
        image, geometry = read_image(folders / "out" / "imagesTr" / f"{name}_translated_0000.nii.gz")
        original, own = read_image(folders / "a" / f"{name}_0000.nii.gz")
        assert image.shape == original.shape and geometry.difference(own) == ""
        assert bounds[0] - 1e-3 <= image.min() < image.max() <= bounds[1] + 1e-3
        np.testing.assert_array_equal(read_label(folders / "out" / "labelsTr" / f"{name}_translated.nii.gz")[0],
                                      read_label(folders / "labels" / f"{name}.nii.gz")[0])


def test_images_come_back_better_after_some_iterations_and_the_seed_repeats_them(translate, folders):
    a, b = translate.read_volumes(folders / "a"), translate.read_volumes(folders / "b")
    trained = translate.train(a, b, iterations=40, size=16, width=4, seed=1)
    assert np.mean(trained.cycle_losses[-8:]) < 0.95 * np.mean(trained.cycle_losses[:8])
    assert np.isfinite(trained.cycle_losses).all()
    again = translate.train(a, b, iterations=3, size=16, width=4, seed=1)
    assert again.cycle_losses == trained.cycle_losses[:3]


@pytest.mark.slow
def test_contrast_is_inverted_after_a_training(translate, folders):
    a, b = translate.read_volumes(folders / "a"), translate.read_volumes(folders / "b")
    trained = translate.train(a, b, iterations=600, size=24, width=8, seed=1)
    image = translate.translated(trained.to_b, a[0], (-1.0, 1.0))
    label = read_label(folders / "labels" / "ball_0.nii.gz")[0]
    assert image[label > 0].mean() < image[label == 0].mean()
