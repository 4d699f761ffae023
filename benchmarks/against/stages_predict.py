"""Stages of prediction: many small cases, export of many classes, memory on a long CT."""

import shutil

from .bench import Bench, Measured, SharedWorkspace, middle, plain
from .cases import ORGANS, link_images, synthetic_ct, write_volume
from .measure import CommandFailed
from .stages_prepare import HIPPOCAMPUS, trained_on
from .table import GB, Row

CLASSES = 118
LONG = {"file_mm": (1.0, 0.8, 0.8), "patch": (128, 128, 128), "features": (8, 16, 32, 64, 64)}


def predict(bench: Bench) -> list[Row]:
    """Hippocampi by one fold with mirroring, from the start of the command; random weights in the same architecture."""
    workspace, dataset = trained_on(bench)
    models = bench.once("predict", "models", lambda: _models(workspace, dataset))
    inputs = workspace.home / f"predict_{bench.predicted}"
    link_images(bench.data / HIPPOCAMPUS, inputs, bench.predicted)
    results = bench.sequential("predict", ours=lambda: _predict_ours(workspace, dataset, inputs.name),
                            theirs=lambda: _predict_theirs(workspace, dataset, inputs.name))
    ours, theirs = middle(results["ours"]), middle(results["theirs"])
    same = all(models["ours"][key] == models["theirs"][key] for key in ("parameters", "patch"))
    architecture = "the same architecture" if same else "ARCHITECTURES THAT DIFFER"
    remark = (f"{ours / bench.predicted:.2f} and {theirs / bench.predicted:.2f} s a case; random weights, {architecture} "
              f"({models['ours']['parameters']} parameters), 2^{len(models['ours']['mirror_axes'])} mirrored copies in both")
    return [Row(f"predict {bench.predicted} hippocampi, one fold, mirroring, whole command", ours, theirs, target=1 / 3,
                our_peak=middle(results["ours"], "peak_bytes"), their_peak=middle(results["theirs"], "peak_bytes"),
                remark=remark)]


def _models(workspace: SharedWorkspace, dataset: str) -> Measured:
    ours = workspace.our_worker("model", dataset=dataset)
    return {"ours": ours, "theirs": workspace.their_worker("model", dataset=dataset, mirror_axes=ours["mirror_axes"])}


def _predict_ours(workspace: SharedWorkspace, dataset: str, inputs: str, *options: str) -> Measured:
    shutil.rmtree(workspace.home / "masks_ours", ignore_errors=True)
    return plain(workspace.ours("predict", "-i", str(workspace.home / inputs), "-o", str(workspace.home / "masks_ours"),
                                "-d", dataset, "-p", "classic", "-c", "3d_fullres", "-f", "0", "--device", "cpu",
                                "--home", str(workspace.home), *options))


def _predict_theirs(workspace: SharedWorkspace, dataset: str, inputs: str, *options: str) -> Measured:
    shutil.rmtree(workspace.home / "masks_theirs", ignore_errors=True)
    return plain(workspace.theirs("nnUNetv2_predict", "-i", str(workspace.home / inputs),
                                  "-o", str(workspace.home / "masks_theirs"), "-d", dataset, "-c", "3d_fullres", "-f", "0",
                                  "-device", "cpu", *options))


def export(bench: Bench) -> list[Row]:
    """Logits of many classes to the file's grid; nnU-Net would hold all of them there at once."""
    low, file = bench.edges(128, 160, 160), bench.edges(320, 512, 512)
    workspace = bench.workspace("export")
    results = bench.sequential("export", ours=lambda: workspace.our_worker(
        "export", classes=CLASSES, logits=low, file=file, dtype="float32"))["ours"]
    there = CLASSES * file[0] * file[1] * file[2] * 4
    shape = "x".join(map(str, reversed(file)))
    return [Row(f"export alone, {CLASSES} classes, logits {'x'.join(map(str, low))} to {shape}", middle(results), target=90,
                relative=False, our_peak=middle(results, "maximum_bytes"),
                remark=f"of the peak {results[0]['logit_bytes'] / GB:.2f} GB are the logits given, "
                       f"{results[0]['classes_found']} classes in the result; nnU-Net's resampled logits alone are "
                       f"{there / GB:.1f} GB, so it was not run"),
            Row("its peak memory", middle(results, "maximum_bytes") / GB, unit="GB", target=4.0, relative=False)]


def memory(bench: Bench) -> list[Row]:
    """A long CT by a small network, on the file's own grid: what the command holds beyond what one tile needs."""
    workspace, dataset, shape = bench.workspace("memory"), "Dataset504_LongCT", bench.edges(800, 512, 512)
    folder = workspace.home / ("long_small" if bench.small else "long")
    if not (folder / "ct_0000.nii.gz").is_file():
        write_volume(folder / "ct_0000.nii.gz", synthetic_ct(shape, 0)[0], LONG["file_mm"])
    (workspace.raw / dataset).mkdir(parents=True, exist_ok=True)
    model = workspace.our_worker("small_model", dataset=dataset, labels=ORGANS, shape=shape, spacing_mm=LONG["file_mm"],
                           planned_mm=LONG["file_mm"], patch=LONG["patch"], features=LONG["features"])
    workspace.their_worker("model", dataset=dataset, plans=model["plans"], dataset_json=model["dataset_json"],
                      mirror_axes=model["mirror_axes"])
    own = bench.once("memory", "own", lambda: workspace.our_worker("tile", dataset=dataset))
    ours = bench.once("memory", "ours", lambda: _predict_ours(workspace, dataset, folder.name, "--mirroring", "off"))
    try:
        theirs = bench.once("memory", "theirs", lambda: _predict_theirs(
            workspace, dataset, folder.name, "--disable_tta", "-npp", "1", "-nps", "1"))
        failed = ""
    except CommandFailed as error:
        theirs, failed = None, f"; nnU-Net failed: {str(error).splitlines()[-1][:80]}"
    what = f"`autoseg_predict`, {'x'.join(map(str, reversed(shape)))} CT, 3 labels and background, CPU"
    features = "-".join(map(str, LONG["features"]))
    return [Row(f"{what}: peak memory over the network's own", (ours["peak_bytes"] - own["peak_bytes"]) / GB, unit="GB",
                target=3.0, relative=False,
                remark=f"network of {features} channels, tiles of 128^3 on the file's own grid; itself "
                       f"{own['peak_bytes'] / GB:.2f} GB, libraries included{failed}"),
            Row(f"{what}: the whole command, no mirroring", ours["seconds"], theirs and theirs["seconds"],
                our_peak=ours["peak_bytes"], their_peak=theirs and theirs["peak_bytes"])]
