"""Regions that `dataset.json` declares, and whether a label map can hold them."""

from collections.abc import Sequence

from autoseg.datasets.declarations import Document
from planners.rules.regions import common_part, right_order, wrongly_written
from planners.schema.labels import LabelSpec


def read_region_faults(document: Document, labels: LabelSpec | None) -> tuple[str, ...]:
    """Why even a perfect prediction of the regions would be written as another one: a sentence each, with what is right.

    Models may have been trained with such regions, so that they are refused only where a dataset is checked or measured.
    """
    if labels is None or labels.region_order is None:
        return ()
    background = [name for name, values in document.get("labels").items()
                  if name != "background" and 0 in (values if isinstance(values, list) else [values])]
    if background:
        return tuple(document.sentence(("labels", name), f"the region {name!r} holds 0, which is the background",
                                       do="take 0 out of it, or the region out of the labels") for name in background)
    regions = {name: labels.names[name] for name in labels.foreground}
    place = ("regions_class_order",)
    strange = [f"{value} where {name!r} is, of which the values are {_listed(values)}"
               for (name, values), value in zip(regions.items(), labels.region_order, strict=True) if value not in values]
    wrong = wrongly_written(regions, labels.region_order)
    if not (strange or wrong):
        return ()
    if strange:
        found = f"{list(labels.region_order)} paints {'; '.join(strange)}"
    else:
        value, painted = next(iter(wrong.items()))
        found = (f"{list(labels.region_order)} paints {painted} ({_owners(regions, painted)}) where the label is {value} "
                 f"({_owners(regions, value)}) and the prediction is perfect, since later regions cover earlier ones")
    order = right_order(regions, labels.region_order)
    if order is None:
        names, values = common_part(regions) or ((), ())
        return (document.sentence(place, "no order of these regions can be right in 'regions_class_order'", found=found,
                                  do=f"declare what {' and '.join(names)} share ({_listed(values)}) as a region of its own, "
                                     "after them"),)
    resorted = "" if list(order) == list(regions) else ", and the labels declared in this order"
    return (document.sentence(place, "'regions_class_order' can never be right", found=found,
                              expected=f"{list(order.values())} for {', '.join(order)}{resorted}"),)


def _owners(regions: dict[str, tuple[int, ...]], value: int) -> str:
    return ", ".join(name for name, values in regions.items() if value in values) or "no region"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
