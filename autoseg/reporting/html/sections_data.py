"""Sections on the dataset and on what was planned for it."""

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Figure, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_data import (
    intensity_figure,
    lesions_figure,
    shapes_and_spacings,
    shares_figure,
    volumes_figure,
)
from autoseg.reporting.html.gather import ReportData
from autoseg.reporting.html.words import by, counted, number, percent, short
from planners.rules.ceiling import low_ceilings, refreshed
from planners.rules.phases import ends_of
from planners.schema.base import Part
from planners.schema.fingerprint import Fingerprint, IntensityStats
from planners.schema.plan import Configuration, Plan, Schedule

_REGISTERED = {"none": "unchanged", "regrid": "regridded", "rigid": "registered (rigid)", "affine": "registered (affine)",
               "deformable": "registered (deformable)"}


def dataset_section(data: ReportData) -> Section:
    """The fingerprint in tables and histograms."""
    blocks: list[Block] = []
    if data.manifest is not None and data.manifest.description:
        blocks.append(Text(data.manifest.description))
    if data.fingerprint is None:
        blocks.append(Absent("The dataset was not measured: there is no fingerprint.",
                             f"autoseg_plan_and_preprocess -d {data.number}"))
        return Section("dataset", "Dataset", tuple(blocks))
    fingerprint = data.fingerprint
    sentence = (f"{counted(len(fingerprint.cases), 'case')}, {counted(len(fingerprint.channels), 'channel')}, "
                f"{counted(len(fingerprint.labels.foreground), 'label')}"
                + (f", {counted(len(fingerprint.conditions.specs), 'condition')} beside the images"
                   if fingerprint.conditions.specs else ", nothing beside the images") + ".")
    blocks += [Text(sentence), _channels(fingerprint), _labels(fingerprint)]
    if fingerprint.conditions.specs:
        blocks.append(_conditions(fingerprint))
    figures = _figures(data, fingerprint)
    blocks.append(Figures(figures) if figures else Absent("There are no measurements to draw."))
    return Section("dataset", "Dataset", tuple(blocks))


def plan_section(data: ReportData) -> Section:
    """Each plan: its reasons, and its configurations beside each other."""
    blocks: list[Block] = []
    for planner, plan in data.plans.items():
        blocks.append(Heading(f"Planner {planner}"))
        if plan.reasons:
            blocks += [Text("Reasons of the planner:"), Bullets(plan.reasons)]
        else:
            blocks.append(Text("The planner gave no reasons."))
        known = data.fingerprint
        blocks.append(_configurations(plan if known is None or not known.ceilings else refreshed(plan, known)))
        warnings = () if known is None else low_ceilings(plan, known)
        if warnings:
            blocks += [Text("Grids that leave little of a label:"), Bullets(warnings)]
    if not data.plans:
        blocks.append(Absent("Nothing was planned.", f"autoseg_plan_and_preprocess -d {data.number}"))
    return Section("plan", "Plan", tuple(blocks))


def _figures(data: ReportData, fingerprint: Fingerprint) -> tuple[Figure, ...]:
    figures = list(shapes_and_spacings(fingerprint))
    names = [channel.name for channel in fingerprint.channels]
    n = counted(len(fingerprint.cases), "case")
    if fingerprint.intensities:
        figures.append(intensity_figure(fingerprint))
    if fingerprint.presence:
        figures.append(shares_figure(names, fingerprint.presence, "Cases that have the channel (%)",
                                     f"Presence of each channel, in % of the cases. {n}."))
    if fingerprint.condition_stats:
        figures.append(shares_figure([stats.name for stats in fingerprint.condition_stats],
                                     [stats.missing for stats in fingerprint.condition_stats],
                                     "Cases that lack the condition (%)",
                                     f"Missing rate of each condition, in % of the cases. {n}."))
    if fingerprint.label_stats:
        figures.append(lesions_figure(fingerprint.label_stats))
    volumes = _volumes(data)
    if volumes:
        figures.append(volumes_figure(volumes))
    return tuple(figures)


def _volumes(data: ReportData) -> dict[str, list[float]]:
    """The true volumes (mL) of each label in the validated cases that have it; each case counts once."""
    cases = {case.name: case for model in data.models for case in model.cases}
    volumes: dict[str, list[float]] = {}
    for case in cases.values():
        for label in case.labels:
            volumes.setdefault(label.name, [])
            if label.truth_ml > 0:
                volumes[label.name].append(label.truth_ml)
    return volumes


def _channels(fingerprint: Fingerprint) -> Table:
    rows = []
    for index, channel in enumerate(fingerprint.channels):
        together = fingerprint.intensities[index] if index < len(fingerprint.intensities) else None
        apart: dict[str, IntensityStats | None] = {}
        if fingerprint.intensities_of_modalities:
            apart |= fingerprint.intensities_of_modalities[index]
        rows += [(channel.name, modality, "required" if channel.required else "optional",
                  "reference" if channel.reference else _REGISTERED[channel.registration],
                  *(percent(shares[index]) if index < len(shares) else "–"
                    for shares in (fingerprint.presence, fingerprint.coverage)),
                  *((short(stats.mean), short(stats.std), short(stats.percentile_00_5), short(stats.percentile_99_5))
                    if stats else ("–",) * 4))
                 for modality, stats in (apart or {channel.modality: together}).items()]
    return table("Channels. Presence: share of the cases that have the channel; coverage: share of the grid that it covers; "
                 f"intensities of foreground voxels, in the image's own unit. n = {len(fingerprint.cases)} cases.",
                 ("Channel", "Modality", "Needed", "Grid", "Presence", "Coverage", "Mean", "SD", "0.5 %", "99.5 %"), rows,
                 texts=(1, 2, 3))


def _labels(fingerprint: Fingerprint) -> Table:
    stats = {label.name: label for label in fingerprint.label_stats}
    rows = []
    for name in fingerprint.labels.foreground:
        values = ", ".join(map(str, fingerprint.labels.names[name]))
        label = stats.get(name)
        rows.append((name, values, *((str(label.cases), short(label.volume_ml), short(label.volume_ml / max(1, label.cases)),
                                      str(label.components), short(label.component_ml_percentiles[2])) if label
                                     else ("–",) * 5)))
    return table(f"Labels. Volumes in mL; components are connected over 26 neighbours. n = {len(fingerprint.cases)} cases.",
                 ("Label", "Values", "Cases", "Total volume", "Volume per case", "Components", "Median component"), rows,
                 texts=(1,))


def _conditions(fingerprint: Fingerprint) -> Table:
    stats = {condition.name: condition for condition in fingerprint.condition_stats}
    rows = []
    for spec in fingerprint.conditions.specs:
        condition = stats.get(spec.name)
        rows.append((spec.name, spec.kind + (", logarithm" if spec.transform == "log" else ""), spec.available_at,
                     percent(condition.missing) if condition else "–",
                     str(condition.distinct) if condition and condition.distinct else "–",
                     number(condition.mean) if condition else "–", number(condition.std) if condition else "–"))
    return table(f"Conditions. Mean and standard deviation after the transform. n = {len(fingerprint.cases)} cases.",
                 ("Condition", "Kind", "Known at", "Missing", "Values", "Mean", "SD"), rows, texts=(1, 2))


def _configurations(plan: Plan) -> Table:
    """One column per configuration."""
    columns = [_described(plan, configuration) for configuration in plan.configurations.values()]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]] if columns else []
    return table("Configurations. Sizes in voxels and spacings in mm, in the plan's order of axes "
                 f"(file's axes {', '.join('zyx'[axis] for axis in plan.transpose)}).",
                 ("Decision", *plan.configurations), rows, texts=tuple(range(1, len(columns) + 1)))


def _normalizer(part: Part) -> str:
    """The name of a normaliser; of one that chooses, that of each modality."""
    choices = part.options.get("parts", {})
    return " / ".join(f"{modality} {choice['name']}" for modality, choice in choices.items()) or part.name


def _described(plan: Plan, configuration: Configuration) -> dict[str, str]:
    normalizers = ", ".join(f"{channel.name}: {_normalizer(part)}" for channel, part in
                            zip(plan.channels, configuration.normalizers, strict=False))
    dropout = ", ".join(f"{channel.name} {percent(p)}" for channel, p in
                        zip(plan.channels, configuration.input_dropout.channels, strict=False) if p)
    return {"Ceiling": _ceiling(configuration), "Spacing": by(configuration.spacing_mm, 3) + " mm",
            "Median image": by(configuration.median_shape),
            "Patch": by(configuration.patch), "Batch": str(configuration.batch),
            "Network": f"{configuration.network.name} ({configuration.architecture.title})",
            "Channels per stage": ", ".join(map(str, configuration.architecture.channels)),
            "Loss": configuration.loss.name + (", Dice over the batch" if configuration.batch_dice else ""),
            "Preprocessing": configuration.preprocess.name,
            "Normalisation": normalizers, "Fusion": configuration.fusion.name,
            "Conditioning": configuration.conditioning.name, "Input dropout": dropout or "none",
            "Augmentation": configuration.augmentation.name,
            "Mirrored axes": (", ".join(map(str, configuration.mirror_axes)) or "none")
                             + (", in turn" if configuration.mirror_views == "alternating" else ""),
            "Schedule": _schedule(configuration.schedule),
            "Cascade": f"after {configuration.previous}" if configuration.previous else "no"}


def _ceiling(configuration: Configuration) -> str:
    known = configuration.ceiling
    return "not measured" if known is None else f"Dice {known.dice:.3f} ({known.label})"


def _schedule(schedule: Schedule) -> str:
    length = f"{schedule.iterations} iterations" if schedule.iterations else "as many iterations as fit"
    budget = f", {duration(schedule.budget_seconds)}" if schedule.budget_seconds else ""
    average = f", weights averaged ({schedule.ema:g})" if schedule.ema else ""
    phases = f", {len(ends_of(schedule.phases))} phases" if schedule.phases else ""
    return f"{length}{budget}; {schedule.optimizer.name}, rate {schedule.learning_rate:g}, {schedule.decay}{average}{phases}"
