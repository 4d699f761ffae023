"""Stages before a training: plan_and_preprocess of small and of large images, what prepared data take, --help, planning."""

import configparser
import json
import shutil
from collections.abc import Callable

from .bench import ROOT, Bench, Measured, SharedWorkspace, middle, plain
from .cases import (
    ORGANS,
    TARGET_MM,
    anisotropic_measures,
    link_dataset,
    make_ct_dataset,
    read_through,
    write_manifest,
    write_volume,
)
from .measure import folder_bytes, median
from .table import GB, Row

HIPPOCAMPUS = "Dataset004_Hippocampus"
FILE_MM = (2.5, 0.8, 0.8)
PLANNERS = ("classic", "resenc_m", "resenc_l", "resenc_xl")


def prepare(bench: Bench) -> list[Row]:
    """The whole command on hippocampi."""
    workspace = bench.workspace("prepare")
    dataset = link_dataset(bench.data / HIPPOCAMPUS, workspace.raw, bench.hippocampi)
    results = _prepare_both(bench, "prepare", workspace, dataset)
    return [_row(f"`plan_and_preprocess`, {bench.hippocampi} hippocampi, 3d_fullres, 2 processes", results, 1 / 8)]


def ct(bench: Bench) -> list[Row]:
    """The whole command on large volumes, which it makes finer."""
    workspace, dataset, shape = bench.workspace("ct"), "Dataset501_CtLike", bench.edges(160, 512, 512)
    make_ct_dataset(workspace.raw / dataset, bench.ct_cases, shape, FILE_MM)
    target = [f"{mm:g}" for mm in TARGET_MM]
    results = _prepare_both(bench, "ct", workspace, dataset, planner="classic_at_target",
                                ours=("--plugin", "benchmarks.against.ct_spacing"),
                                theirs=("-overwrite_target_spacing", *target))
    what = (f"the same, {bench.ct_cases} synthetic CT {'x'.join(map(str, reversed(shape)))} of 0.8x0.8x2.5 mm to "
            f"{'x'.join(target)}")
    return [_row(what, results, 1 / 4, memory_target=1 / 2, remark="target spacing set in both plans; ")]


def disk(bench: Bench) -> list[Row]:
    """What the prepared CT of the sarcomas takes."""
    workspace = bench.workspace("disk")
    dataset = link_dataset(bench.data / "Dataset010_STS", workspace.raw, bench.sarcomas, "Dataset502_SarcomaCT", [0])
    results = _prepare_both(bench, "disk", workspace, dataset, keep=True)
    ours, theirs = (middle(results[side], "disk_bytes") / GB for side in ("ours", "theirs"))
    return [Row(f"prepared data on disk, Dataset010, CT only, {bench.sarcomas} cases", ours, theirs, "GB", 0.6),
            _row("`plan_and_preprocess` of these", results)]


def trained_on(bench: Bench) -> tuple[SharedWorkspace, str]:
    """Hippocampi, prepared by both once, for the stages that train and predict."""
    workspace = bench.workspace("train")
    dataset = link_dataset(bench.data / HIPPOCAMPUS, workspace.raw, bench.hippocampi)
    bench.once("train", "prepared_ours", lambda: _prepare_ours(workspace, dataset))
    bench.once("train", "prepared_theirs", lambda: _prepare_theirs(workspace, dataset))
    return workspace, dataset


def _prepare_both(bench: Bench, stage: str, workspace: SharedWorkspace, dataset: str, *, planner: str = "classic",
                      ours: tuple[str, ...] = (), theirs: tuple[str, ...] = (), keep: bool = False
                      ) -> dict[str, list[Measured]]:
    read_through(workspace.raw / dataset)
    results = bench.sequential(stage, ours=lambda: _prepare_ours(workspace, dataset, planner, *ours),
                            theirs=lambda: _prepare_theirs(workspace, dataset, *theirs))
    if not keep:
        for folder in (workspace.prepared(dataset), workspace.preprocessed(dataset)):
            shutil.rmtree(folder, ignore_errors=True)
    return results


def _prepare_ours(workspace: SharedWorkspace, dataset: str, planner: str = "classic", *options: str) -> Measured:
    shutil.rmtree(workspace.prepared(dataset), ignore_errors=True)
    usage = workspace.ours("plan_and_preprocess", "-d", dataset, "-p", planner, "-c", "3d_fullres", "--workers", "2",
                      "--device", "cpu", "--home", str(workspace.home), *options)
    return {**plain(usage), "disk_bytes": folder_bytes(workspace.prepared(dataset) / f"{planner}_3d_fullres")}


def _prepare_theirs(workspace: SharedWorkspace, dataset: str, *options: str) -> Measured:
    shutil.rmtree(workspace.preprocessed(dataset), ignore_errors=True)
    number = str(int(dataset[len("Dataset"):].split("_")[0]))
    usage = workspace.theirs("nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", "-np", "2", "-npfp", "2",
                          *options)
    return {**plain(usage), "disk_bytes": folder_bytes(workspace.preprocessed(dataset) / "nnUNetPlans_3d_fullres")}


def _row(what: str, results: dict[str, list[Measured]], target: float | None = None,
         memory_target: float | None = None, remark: str = "") -> Row:
    ours, theirs = results["ours"], results["theirs"]
    disk_ratio = middle(ours, "disk_bytes") / middle(theirs, "disk_bytes")
    return Row(what, middle(ours), middle(theirs), target=target, our_peak=middle(ours, "peak_bytes"),
               their_peak=middle(theirs, "peak_bytes"), memory_target=memory_target,
               remark=f"{remark}prepared data {disk_ratio:.2f} of nnU-Net's")


def help_texts(bench: Bench) -> list[Row]:
    """`--help` of every command."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].split()
    modules = [part.removesuffix(":main").rsplit(".", 1)[-1] for part in lines if part.endswith(":main")]
    workspace = bench.workspace("help")
    sides: dict[str, Callable[[], Measured]] = {
        name: lambda name=name: plain(workspace.ours(name, "--help")) for name in modules}
    results = bench.sequential("help", **sides, theirs=lambda: plain(workspace.theirs("nnUNetv2_predict", "-h")))
    theirs = results.pop("theirs")
    medians = {name: middle(each) for name, each in results.items()}
    slowest = max(medians, key=medians.get)
    shared = {"theirs": middle(theirs), "target": 0.5, "relative": False}
    return [Row(f"`--help`, the slowest of {len(modules)} commands", medians[slowest],
                remark=f"autoseg_{slowest}; nnU-Net's of predict", **shared),
            Row("`--help`, the median command", median(list(medians.values())), remark="nnU-Net's of predict", **shared),
            Row("`--help` of predict", medians["predict"], **shared)]


def planning(bench: Bench) -> list[Row]:
    """Four planners on the fingerprint of an anisotropic CT set."""
    workspace, dataset, n_cases = bench.workspace("planning"), "Dataset503_AnisotropicCT", 60
    shapes, spacings = anisotropic_measures(n_cases)
    _write_fingerprints(workspace, dataset, shapes, spacings)
    sides: dict[str, Callable[[], Measured]] = {
        name: lambda name=name: workspace.their_worker("plan", number=503, planner=name) for name in PLANNERS}
    results = bench.sequential("planning", ours=lambda: workspace.our_worker("plan", dataset=dataset, planners=PLANNERS),
                               **sides)
    each = {name: middle(results[name]) for name in PLANNERS}
    alone = middle(results["ours"], "planners_alone_seconds")
    remark = (f"of ours {alone:.2f} s in the planners themselves; nnU-Net's "
              + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in each.items()))
    return [Row("planning from a finished fingerprint, anisotropic CT, four planners", middle(results["ours"]),
                sum(each.values()), target=1.0, relative=False, remark=remark)]


def _write_fingerprints(workspace: SharedWorkspace, dataset: str, shapes: list, spacings: list) -> None:
    """The same fingerprint for both; of the raw data there is as much as nnU-Net's planner opens, one small image."""
    import numpy as np

    raw = workspace.raw / dataset
    for index in range(len(shapes)):
        for folder, end in (("imagesTr", "_0000"), ("labelsTr", "")):
            path = raw / folder / f"ct_{index:03}{end}.nii.gz"
            if not path.is_file():
                write_volume(path, np.zeros((4, 4, 4), np.int16), (5.0, 0.8, 0.8))
    write_manifest(raw, {"channel_names": {"0": "CT"}, "labels": ORGANS, "file_ending": ".nii.gz"}, len(shapes))
    workspace.our_worker("fingerprint", dataset=dataset, labels=ORGANS, shapes=shapes, spacings=spacings)
    stats = {"mean": 90, "std": 60, "min": -800, "max": 1200, "median": 95, "percentile_00_5": -60, "percentile_99_5": 260}
    words = {"spacings": spacings, "shapes_after_crop": shapes, "median_relative_size_after_cropping": 1.0,
             "foreground_intensity_properties_per_channel": {"0": stats}}
    workspace.preprocessed(dataset).mkdir(parents=True, exist_ok=True)
    (workspace.preprocessed(dataset) / "dataset_fingerprint.json").write_text(json.dumps(words), encoding="utf-8")
