"""Put a file of somebody else into a dataset: as a link where it can be used as it is, or as a copy."""

import os
import shutil
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import write_atomically, writing
from autoseg.workspace.partial import partial_folder


def place(source: Path, path: Path, *, copy: bool = False) -> None:
    """Make `path` a link to the whole path of `source`, or a `copy`; what lies there is replaced. Where the system makes no
    links, as Windows without the right to, it is copied. Raises UserError where the source cannot be read.
    """
    if not copy:
        with writing(path), partial_folder(path.parent) as folder:
            link = folder / path.name
            try:
                link.symlink_to(source.resolve())
            except (OSError, NotImplementedError):
                copy = True
            else:
                os.replace(link, path)
    if copy:
        try:
            open(source, "rb").close()
        except OSError as error:  # else the place of the copy would be blamed
            raise UserError("the file cannot be read", where=source, found=error.strerror or error) from None
        write_atomically(path, lambda temporary: shutil.copyfile(source, temporary))
