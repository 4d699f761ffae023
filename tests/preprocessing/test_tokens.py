"""Tiles become bags of tokens: which tiles are taken, what an encoder says of them, and what is refused."""

import numpy as np
import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.formats import write_array
from autoseg.formats.arrays import read_features
from autoseg.formats.natural import flat_geometry
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.orchestrate.tokens import encoder_named
from autoseg.preprocessing.tokens import TILE_ENCODERS, Tile, TileEncoderContext
from autoseg.preprocessing.tokens.bags import BagSettings, read_tile, tile_folders, write_bags
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.folders import FoldFolder
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from preprocess_plans import tiny_plan
from stained_tiles import random_amounts, random_stains, stained

BLANK = np.full((24, 24, 3), 243, np.uint8)


def colours(seed, side=24):
    rng = np.random.default_rng(seed)
    return stained(random_amounts(rng, side), random_stains(rng))


def write_tile(path, tile):
    write_array(path, np.moveaxis(tile, -1, 0)[:, None], flat_geometry(*tile.shape[:2]))
    return path


@pytest.fixture
def tiles(tmp_path):
    """Case a: five tiles, of which two are blank; case b: two slides, in other formats."""
    folder = tmp_path / "tiles"
    for number in range(5):
        write_tile(folder / "a" / f"tile_{number}.png", BLANK if number in (1, 3) else colours(number))
    write_tile(folder / "b" / "slide_1" / "x.tif", colours(7))
    write_tile(folder / "b" / "slide_2" / "x.bmp", colours(8))
    return folder


def written(tiles, target, **settings):
    return write_bags(tile_folders(tiles), target, BagSettings(**settings), "cpu")


def test_a_bag_has_a_token_for_each_tile_that_is_not_blank(tiles, tmp_path):
    record = written(tiles, tmp_path / "bags")
    bag = read_features(tmp_path / "bags" / "a.npy", axes=2)
    assert bag.dtype == np.float32 and bag.shape == (3, record.features)
    assert record.cases["a"].model_dump() == {"tiles": 5, "tokens": 3, "blank": 2}
    assert read_features(tmp_path / "bags" / "b.npy", axes=2).shape == (2, record.features)
    assert read_json(tmp_path / "bags" / "bags.json")["cases"]["b"]["tokens"] == 2


def test_tokens_are_in_the_order_of_the_tiles_and_repeat(tiles, tmp_path):
    written(tiles, tmp_path / "bags")
    encoder = TILE_ENCODERS.make(Part(name="small"), TileEncoderContext("cpu"))
    alone = encoder([read_tile(tiles / "a" / f"tile_{number}.png") for number in (0, 2, 4)])
    bag = read_features(tmp_path / "bags" / "a.npy", axes=2)
    np.testing.assert_allclose(bag, alone, atol=1e-5)
    written(tiles, tmp_path / "again")
    assert np.array_equal(bag, read_features(tmp_path / "again" / "a.npy", axes=2))


def test_a_bag_is_bounded_by_a_sample_that_the_seed_decides(tiles, tmp_path):
    bags = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1), ("another", 2)):
        assert written(tiles, tmp_path / name, most=1, seed=seed).cases["a"].tokens == 1
        bags[name] = read_features(tmp_path / name / "a.npy", axes=2)
    assert np.array_equal(bags["one"], bags["same"])
    assert any(not np.array_equal(bags["one"], bags[name]) for name in ("other", "another"))


def test_a_case_of_blank_tiles_has_no_bag_and_loses_that_of_an_earlier_run(tiles, tmp_path, caplog):
    written(tiles, tmp_path / "bags")
    for tile in (tiles / "a").iterdir():
        write_tile(tile, BLANK)
    record = written(tiles, tmp_path / "bags")
    assert record.cases["a"].tokens == 0 and record.cases["a"].blank == 5
    assert not (tmp_path / "bags" / "a.npy").exists()
    assert "all of its 5 tiles are blank" in caplog.text


def test_two_stainings_have_nearer_tokens_after_macenko(tmp_path):
    rng = np.random.default_rng(3)
    amounts = random_amounts(rng, 48)
    for case in ("a", "b"):
        write_tile(tmp_path / "tiles" / case / "tile.png", stained(amounts, random_stains(rng)))
    distance = {}
    for name in ("none", "macenko"):
        written(tmp_path / "tiles", tmp_path / name, preprocess=Part(name=name))
        one, other = (read_features(tmp_path / name / f"{case}.npy", axes=2) for case in "ab")
        distance[name] = np.abs(one - other).mean()
    assert distance["macenko"] * 3 < distance["none"]


def test_what_is_transparent_is_glass(tmp_path):
    tile = np.moveaxis(colours(3), -1, 0)[:, None]
    alpha = np.full((1, 1, 24, 24), 255, np.uint8)
    alpha[..., :8] = 0
    write_array(tmp_path / "tile.png", np.concatenate([tile, alpha]), flat_geometry(24, 24))
    image = read_tile(tmp_path / "tile.png").image_CDHW
    assert image.shape == (3, 1, 24, 24) and (image[..., :8] == 255).all()
    np.testing.assert_array_equal(image[..., 8:], tile[..., 8:])


def test_bags_of_one_name_are_all_made_alike(tiles, tmp_path):
    written(tiles, tmp_path / "bags")
    with pytest.raises(UserError, match="made otherwise.*macenko"):
        written(tiles, tmp_path / "bags", preprocess=Part(name="macenko"))


def test_bags_that_nothing_describes_are_not_replaced(tiles, tmp_path):
    (tmp_path / "bags").mkdir()
    np.save(tmp_path / "bags" / "a.npy", np.ones((2, 3), np.float32))
    with pytest.raises(UserError, match="nothing says how they were made.*a.npy"):
        written(tiles, tmp_path / "bags")
    assert np.load(tmp_path / "bags" / "a.npy").shape == (2, 3)


@pytest.mark.parametrize(("bad", "words"), [
    (np.full((1, 1, 24, 24), 90, np.uint8), "not a picture in colour"),
    (np.full((3, 2, 24, 24), 90, np.uint8), "not a picture in colour"),
    (np.full((3, 1, 24, 24), 900, np.uint16), "8 bits"),
    (np.full((3, 1, 24, 9), 90, np.uint8), "too small"),
    (None, "bad.tif")], ids=["grey", "a stack", "16 bits", "small", "damaged"])
def test_a_bad_tile_is_named_and_does_not_stop_other_cases(tiles, tmp_path, bad, words):
    if bad is None:
        (tiles / "a" / "bad.tif").write_bytes(b"no picture")
    else:
        rng = np.random.default_rng(0)
        bad = (bad * rng.uniform(0.2, 1, bad.shape)).astype(bad.dtype)
        write_array(tiles / "a" / "bad.tif", bad, Geometry(bad.shape[1:], (1.0, 1.0, 1.0)))
    with pytest.raises((UserError, ManyFaults), match=words):
        written(tiles, tmp_path / "bags")
    assert (tmp_path / "bags" / "b.npy").exists() and not (tmp_path / "bags" / "a.npy").exists()


@pytest.mark.parametrize(("settings", "words"), [
    ({"encoder": Part(name="smal")}, "did you mean 'small'"),
    ({"preprocess": Part(name="reinhard")}, "unknown preprocessor"),
    ({"encoder": Part(name="small", options={"width": 3})}, "width"),
    ({"encoder": Part(name="pretrained", options={"model": "nowhere"})}, "nowhere")])
def test_parts_that_are_not_known_are_refused_before_a_tile_is_read(tiles, tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        written(tiles, tmp_path / "bags", **settings)
    assert not (tmp_path / "bags").exists()


def test_folders_without_tiles_and_tiles_without_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="missing"):
        tile_folders(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="no tiles"):
        tile_folders(tmp_path)
    write_tile(tmp_path / "tile.png", BLANK)
    with pytest.raises(UserError, match="no folder of a case"):
        tile_folders(tmp_path)


@pytest.mark.parametrize("name", [name for name in TILE_ENCODERS.names() if name != "pretrained"])
def test_every_encoder_gives_as_many_finite_features_for_tiles_of_any_size(name):
    encoder = TILE_ENCODERS.make(Part(name=name), TileEncoderContext("cpu"))
    made = [Tile(str(side), np.moveaxis(colours(side, side), -1, 0)[:, None].astype(np.float32), flat_geometry(side, side))
            for side in (20, 33, 64)]
    features = encoder(made)
    assert features.dtype == np.float32 and features.shape[0] == 3 and np.isfinite(features).all()
    np.testing.assert_allclose(encoder(made[1:2]), features[1:2], atol=1e-5)
    assert not np.allclose(features[0], features[2])


def test_a_plugin_registers_an_encoder(tiles, tmp_path):
    @TILE_ENCODERS.register("mean_colour_of_a_test")
    def mean_colour(options, context):
        return lambda given: np.stack([tile.image_CDHW.mean(axis=(1, 2, 3)) for tile in given])

    record = written(tiles, tmp_path / "bags", encoder=Part(name="mean_colour_of_a_test"))
    assert record.features == 3


def pretraining(folder, channels=3, spacing_mm=(1.0, 1.0)):
    """The folder of a pre-training that has not learnt anything."""
    n = len(spacing_mm)
    plan = tiny_plan(spacing_mm, normalizers=("rgb",) * channels)
    architecture = UNet(strides=((1,) * n, (2,) * n), kernel_sizes=((3,) * n,) * 2, features=(4, 6), blocks_encoder=(1, 1),
                        convs_decoder=(1,))
    configuration = plan.configurations["tiny"].model_copy(update={"architecture": architecture})
    plan = plan.model_copy(update={"channels": tuple(ChannelSpec(name="rgb") for _ in range(channels)),
                                   "configurations": {"tiny": configuration}})
    made = FoldFolder(folder / "pretrained_mae")
    write_json(made.path / "plan.json", plan)
    save_weights(made.checkpoint, build_model(plan, configuration, n_outputs=channels).state_dict(), {})
    return made


def test_a_pretrained_network_encodes_tiles_of_any_size(tmp_path):
    for case, side in (("a", 24), ("b", 33), ("c", 17)):
        write_tile(tmp_path / "tiles" / case / "tile.png", colours(side, side))
    model = pretraining(tmp_path)
    record = written(tmp_path / "tiles", tmp_path / "bags", encoder=encoder_named(str(model.path)))
    assert record.features == 2 * 6
    assert all(np.isfinite(read_features(tmp_path / "bags" / f"{case}.npy", axes=2)).all() for case in "abc")


def test_a_pretrained_network_of_other_weights_gives_no_bags_of_the_same_name(tiles, tmp_path):
    encoder = encoder_named(str(pretraining(tmp_path).path))
    pretraining(tmp_path)
    with pytest.raises(UserError, match="other weights"):
        written(tiles, tmp_path / "bags", encoder=encoder)


@pytest.mark.parametrize("plan", [{"channels": 1}, {"spacing_mm": (1.0, 1.0, 1.0)}])
def test_a_network_of_other_images_is_refused(tiles, tmp_path, plan):
    with pytest.raises(UserError, match="2D pictures in colour"):
        written(tiles, tmp_path / "bags", encoder=encoder_named(str(pretraining(tmp_path, **plan).path)))


@pytest.mark.parametrize(("text", "words"), [("smal", "did you mean 'small'"), (".", "no trained network")])
def test_an_encoder_that_is_neither_a_name_nor_a_pretraining_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        encoder_named(text)
