"""What an imported dataset could declare beside its images and labels, added to its `dataset.json` as a draft."""

from pathlib import Path

from autoseg.datasets.describe import describe_inputs
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import DATASET_JSON

_TABLE_KEYS = ("conditions", "groups", "outcomes")


def add_draft(folder: Path) -> list[str]:
    """Draft optional channels, the reference channel, and what the table's columns are (`describe_inputs`), and add it; what
    a person should look at, in sentences. What `dataset.json` says already stays.
    """
    path = folder / DATASET_JSON
    content, draft = read_json(path), describe_inputs(folder)
    added = {key: value for key, value in draft.block.items() if key not in content}
    for key in _TABLE_KEYS:
        if isinstance(content.get(key), dict) and isinstance(draft.block.get(key), dict):
            added[key] = draft.block[key] | {name: value for name, value in content[key].items() if value}
    if added:
        write_json(path, content | added)
    used = [f"{verdict.name} ({verdict.kind})" for verdict in draft.accepted]
    lines = [f"drafted as conditions, see {DATASET_JSON}: {', '.join(used)}"] if used else []
    lines += [f"the column {verdict.name!r} is no condition: {verdict.reason}" for verdict in draft.refused
              if not verdict.group]
    return [*draft.remarks, *lines]
