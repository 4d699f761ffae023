"""Whether regions can be written into one label map: they are painted one after the other, the later over the earlier."""

from collections.abc import Mapping, Sequence

Regions = Mapping[str, Sequence[int]]  # the label values of each region, in the order of painting


def wrongly_written(regions: Regions, order: Sequence[int]) -> dict[int, int]:
    """The value that even a perfect prediction is written as, of each label value of which that is another set of regions.

    `order` is the value painted for each region. Empty where a perfect prediction is written as it is.
    """
    written = {value: order[list(regions).index(names[-1])] for value, names in _owners(regions).items()}
    owners = _owners(regions)
    return {value: painted for value, painted in written.items() if owners.get(painted) != owners[value]}


def right_order(regions: Regions, order: Sequence[int]) -> dict[str, int] | None:
    """The value to paint for each region, in an order of painting that is right: as declared, else the largest region first.

    What is right in `order` stays. None where neither can be right: regions overlap, and no region is their common part.
    """
    given = dict(zip(regions, order, strict=False))
    by_size = dict(sorted(regions.items(), key=lambda item: -len(item[1])))
    return _order_of(regions, given) or _order_of(by_size, given)


def common_part(regions: Regions) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """Regions that overlap, and the label values that they share, which are no region of their own; None without such."""
    owners = _owners(dict(sorted(regions.items(), key=lambda item: -len(item[1]))))
    for names in sorted(set(owners.values()), key=len, reverse=True):
        rivals = {other for other in owners.values() if other[-1] == names[-1]}
        if len(rivals) > 1:
            return names, tuple(value for value, others in owners.items() if others == names)
    return None


def _order_of(regions: Regions, given: Mapping[str, int]) -> dict[str, int] | None:
    owners = _owners(regions)
    order = {}
    for name, values in regions.items():
        on_top = [value for value in values if owners[value][-1] == name]
        if len({owners[value] for value in on_top}) > 1:
            return None
        fitting = [value for value in values if not on_top or owners[value] == owners[on_top[0]]]
        order[name] = given[name] if given.get(name) in fitting else min(fitting)
    return order


def _owners(regions: Regions) -> dict[int, tuple[str, ...]]:
    """The regions that hold each label value, in the order of painting."""
    values = sorted({value for values in regions.values() for value in values})
    return {value: tuple(name for name, own in regions.items() if value in own) for value in values}
