"""Sections on the dataset and on what was planned for it."""

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Figure, Figures, Heading, Section, Text, table
from autoseg.reporting.html.figures_data import (
    intensity_figure,
    lesions_figure,
    shapes_and_spacings,
    shares_figure,
    volumes_figure,
)
from autoseg.reporting.html.gather import Gathered
from autoseg.reporting.html.words import by, counted, number, percent, short
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan, Schedule

_REGISTERED = {"none": "as it is", "regrid": "regridded", "rigid": "registered (rigid)", "affine": "registered (affine)",
               "deformable": "registered (deformable)"}


def dataset_section(of: Gathered) -> Section:
    """What the fingerprint says, in tables and histograms."""
    blocks: list[Block] = []
    if of.manifest is not None and of.manifest.description:
        blocks.append(Text(of.manifest.description))
    if of.fingerprint is None:
        blocks.append(Absent("The dataset was not measured: there is no fingerprint.",
                             f"autoseg_plan_and_preprocess -d {of.number}"))
        return Section("dataset", "Dataset", tuple(blocks))
    print_ = of.fingerprint
    sentence = (f"{counted(len(print_.cases), 'case')}, {counted(len(print_.channels), 'channel')}, "
                f"{counted(len(print_.labels.foreground), 'label')}"
                + (f", {counted(len(print_.conditions.specs), 'condition')} beside the images"
                   if print_.conditions.specs else ", nothing beside the images") + ".")
    blocks += [Text(sentence), _channels(print_), _labels(print_)]
    if print_.conditions.specs:
        blocks.append(_conditions(print_))
    figures = _figures(of, print_)
    blocks.append(Figures(figures) if figures else Absent("There is no measure to draw."))
    return Section("dataset", "Dataset", tuple(blocks))


def plan_section(of: Gathered) -> Section:
    """Every plan: why, in its own words, and its configurations side by side."""
    blocks: list[Block] = []
    for planner, plan in of.plans.items():
        blocks.append(Heading(f"Planner {planner}"))
        if plan.reasons:
            blocks += [Text("Why it was planned so:"), Bullets(plan.reasons)]
        else:
            blocks.append(Text("The planner gave no reasons."))
        blocks.append(_configurations(plan))
    if not of.plans:
        blocks.append(Absent("Nothing was planned.", f"autoseg_plan_and_preprocess -d {of.number}"))
    return Section("plan", "Plan", tuple(blocks))


def _figures(of: Gathered, print_: Fingerprint) -> tuple[Figure, ...]:
    figures = list(shapes_and_spacings(print_))
    names = [channel.name for channel in print_.channels]
    n = counted(len(print_.cases), "case")
    if print_.intensities:
        figures.append(intensity_figure(print_))
    if print_.presence:
        figures.append(shares_figure(names, print_.presence, "Cases that have the channel (%)",
                                     f"Presence of each channel, in % of the cases. {n}."))
    if print_.condition_stats:
        figures.append(shares_figure([stats.name for stats in print_.condition_stats],
                                     [stats.missing for stats in print_.condition_stats],
                                     "Cases that lack the condition (%)",
                                     f"Missing rate of each condition, in % of the cases. {n}."))
    if print_.label_stats:
        figures.append(lesions_figure(print_.label_stats))
    volumes = _volumes(of)
    if volumes:
        figures.append(volumes_figure(volumes))
    return tuple(figures)


def _volumes(of: Gathered) -> dict[str, list[float]]:
    """The true volume (mL) of each label in the validated cases that have it; each case once."""
    cases = {case.name: case for model in of.models for case in model.cases}
    volumes: dict[str, list[float]] = {}
    for case in cases.values():
        for label in case.labels:
            volumes.setdefault(label.name, [])
            if label.truth_ml > 0:
                volumes[label.name].append(label.truth_ml)
    return volumes


def _channels(of: Fingerprint):
    rows = []
    for index, channel in enumerate(of.channels):
        stats = of.intensities[index] if index < len(of.intensities) else None
        rows.append((channel.name, channel.modality, "required" if channel.required else "optional",
                     "the grid of all" if channel.reference else _REGISTERED[channel.registration],
                     *(percent(values[index]) if index < len(values) else "–" for values in (of.presence, of.coverage)),
                     *((short(stats.mean), short(stats.std), short(stats.percentile_00_5), short(stats.percentile_99_5))
                       if stats else ("–",) * 4)))
    return table("Channels. Presence: share of the cases; coverage: share of the grid; intensities of foreground voxels, in "
                 f"the image's own unit. n = {len(of.cases)} cases.",
                 ("Channel", "Modality", "Needed", "Grid", "Presence", "Coverage", "Mean", "SD", "0.5 %", "99.5 %"), rows,
                 texts=(1, 2, 3))


def _labels(of: Fingerprint):
    stats = {one.name: one for one in of.label_stats}
    rows = []
    for name in of.labels.foreground:
        values = ", ".join(map(str, of.labels.names[name]))
        one = stats.get(name)
        rows.append((name, values, *((str(one.cases), short(one.volume_ml), short(one.volume_ml / max(1, one.cases)),
                                      str(one.components), short(one.component_ml_percentiles[2])) if one
                                     else ("–",) * 5)))
    return table(f"Labels. Volumes in mL; components are connected over 26 neighbours. n = {len(of.cases)} cases.",
                 ("Label", "Values", "Cases", "Volume, all", "Volume a case", "Components", "Median component"), rows,
                 texts=(1,))


def _conditions(of: Fingerprint):
    stats = {one.name: one for one in of.condition_stats}
    rows = []
    for spec in of.conditions.specs:
        one = stats.get(spec.name)
        rows.append((spec.name, spec.kind + (", logarithm" if spec.transform == "log" else ""), spec.available_at,
                     percent(one.missing) if one else "–", str(one.distinct) if one and one.distinct else "–",
                     number(one.mean) if one else "–", number(one.std) if one else "–"))
    return table(f"Conditions. Mean and standard deviation after the transform. n = {len(of.cases)} cases.",
                 ("Condition", "Kind", "Known at", "Missing", "Values", "Mean", "SD"), rows, texts=(1, 2))


def _configurations(plan: Plan):
    """A column a configuration."""
    columns = [_described(plan, configuration) for configuration in plan.configurations.values()]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]] if columns else []
    return table("Configurations. Sizes in voxels and spacings in mm, in the plan's order of axes "
                 f"(file's axes {', '.join('zyx'[axis] for axis in plan.transpose)}).",
                 ("Decision", *plan.configurations), rows, texts=tuple(range(1, len(columns) + 1)))


def _described(plan: Plan, of: Configuration) -> dict[str, str]:
    normalizers = ", ".join(f"{channel.name}: {part.name}" for channel, part in
                            zip(plan.channels, of.normalizers, strict=False))
    hidden = ", ".join(f"{channel.name} {percent(p)}" for channel, p in zip(plan.channels, of.input_dropout.channels, strict=False)
                       if p)
    return {"Spacing": by(of.spacing_mm, 3) + " mm", "Median image": by(of.median_shape), "Patch": by(of.patch),
            "Batch": str(of.batch), "Network": f"{of.network.name} ({of.architecture.title})",
            "Channels a stage": ", ".join(map(str, of.architecture.channels)),
            "Loss": of.loss.name + (", Dice over the batch" if of.batch_dice else ""), "Normalisation": normalizers,
            "Fusion": of.fusion.name, "Conditioning": of.conditioning.name, "Hidden in training": hidden or "nothing",
            "Augmentation": of.augmentation.name, "Mirrored axes": ", ".join(map(str, of.mirror_axes)) or "none",
            "Schedule": _schedule(of.schedule),
            "Cascade": f"after {of.previous}" if of.previous else "no"}


def _schedule(of: Schedule) -> str:
    length = f"{of.iterations} iterations" if of.iterations else "as many iterations as fit"
    budget = f", {duration(of.budget_seconds)}" if of.budget_seconds else ""
    average = f", weights averaged ({of.ema:g})" if of.ema else ""
    return f"{length}{budget}; {of.optimizer.name}, rate {of.learning_rate:g}, {of.decay}{average}"
