"""Adding to a JSON file that a person wrote."""

import json
import shutil
from pathlib import Path
from typing import Any

from autoseg.workspace.files import read_json, write_atomically, write_text
from autoseg.workspace.partial import remove_leftovers


def add_keys(path: Path, keys: dict[str, Any]) -> tuple[str, ...]:
    """Write the keys that the JSON object of a file lacks, and return them; what it was stays beside it as PATH.bak.

    A key that is there keeps its value. Where none is lacking, nothing is written.
    """
    remove_leftovers(path.parent)
    data = read_json(path)
    added = {key: value for key, value in keys.items() if key not in data}
    if added:
        write_atomically(path.with_name(path.name + ".bak"), lambda temporary: shutil.copyfile(path, temporary))
        write_text(path, json.dumps(data | added, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return tuple(added)
