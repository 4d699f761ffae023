"""What the standard asks of a file: the modules and attributes of its object (PS3.3), from the tables that highdicom
carries."""

from typing import Any

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def faults_of(file: Any) -> list[str]:
    """A sentence for each attribute of a mandatory module that is missing (types 1 and 2), or empty although it needs a
    value (type 1), and for each sequence without an item (type 1). Conditions (1C, 2C) are not judged, nor which macros are
    in the functional groups: those that are there are.
    """
    from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map

    iod = get_sop_class_iod_map()[str(file.SOPClassUID)]
    faults = []
    for module in get_iod_module_map()[iod]:
        if module["usage"] == "M":
            for attribute in get_module_attribute_map()[module["key"]]:
                if attribute["path"] and attribute["path"][-1] in _GROUPS:
                    continue
                faults += [f"{module['key']}: {fault}" for fault in _faults(file, attribute["path"], attribute)]
    return faults


def _faults(dataset: Any, path: list[str], attribute: dict[str, Any]) -> list[str]:
    """What is wrong with one attribute, in each item of the sequences above it that are there."""
    if path:
        return [fault for item in getattr(dataset, path[0], None) or [] for fault in _faults(item, path[1:], attribute)]
    name, kind = attribute["keyword"], attribute["type"]
    if kind not in ("1", "2"):
        return []
    if name not in dataset:
        return [f"{name} (type {kind}) is missing"]
    value = dataset[name].value
    is_empty = value is None or (hasattr(value, "__len__") and len(value) == 0)
    return [f"{name} (type 1) is empty"] if kind == "1" and is_empty else []
