"""Where the voxels of a MetaImage or an NRRD lie, from their text headers.

ITK says what a header means, but compares no checksum of what it unpacks: SimpleITK 2.5 reads a flipped bit as other labels.
So the voxels are read here, where their order is plain; ITK reads text, bzip2 and axes in another order.
Sources: https://itk.org/Wiki/MetaIO/Documentation, https://teem.sourceforge.net/nrrd/format.html
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import damaged, not_understood, refuse_more_than_memory
from autoseg.formats.inflate import unpack

_HEADER_BYTES = 2**18  # more than any writer's
_META_TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
               "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}
_C_NAMES = {"i1": "signed char, int8, int8_t", "u1": "uchar, unsigned char, uint8, uint8_t",
            "i2": "short, short int, signed short, signed short int, int16, int16_t",
            "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t", "i4": "int, signed int, int32, int32_t",
            "u4": "uint, unsigned int, uint32, uint32_t", "f4": "float", "f8": "double",
            "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
            "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t"}
_NRRD_TYPES = {name: code for code, names in _C_NAMES.items() for name in names.split(", ")}
# Kinds of an NRRD's first axis that are the channels of a voxel, as they are.
_CHANNEL_KINDS = {"vector", "covariant-vector", "list", "point", "rgb-color", "rgba-color", "2-vector", "3-vector",
                  "4-vector", "3-color", "4-color"}
# ITK ends the process (a segmentation fault, SimpleITK 2.5) where an error quotes a line of over about 800 bytes, or where a
# MetaImage has over ten axes. Comments, pairs of the user's own and names may be longer.
_LONGEST_LINE, _LONGEST_TEXT, _MOST_AXES = 600, 30_000, 10
_MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "???", "none")
_NRRD_TEXTS = (b"#", b"content:", b"labels:", b"units:", b"space units:")


@dataclass(frozen=True)
class Layout:
    """Voxels of `dtype` from `offset` bytes of a file on, channels fastest, then x, y, z; `is_compressed` by gzip or zlib.

    `is_plain` is False where only ITK knows their order.
    """

    file: Path
    offset: int
    dtype: np.dtype
    is_compressed: bool
    is_plain: bool = True

    def read(self, path: Path, n_values: int) -> np.ndarray:
        """The values (n,) of the image at `path`. Raises UserError where the file holds another number of them."""
        n_bytes = n_values * self.dtype.itemsize
        refuse_more_than_memory(path, n_bytes)
        if not self.file.is_file():  # a pipe would be waited for
            raise UserError("the file of its voxels is missing", where=path, found=self.file)
        held = self.file.stat().st_size - self.offset
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            if self.is_compressed:
                content, surplus = unpack(path, file, n_bytes)
            elif held < n_bytes:
                raise damaged(path, f"{held} bytes of voxels", f"{n_bytes} bytes")
            else:
                content, surplus = np.fromfile(file, np.uint8, n_bytes), held - n_bytes
        if surplus:
            raise damaged(path, f"{n_bytes + surplus} bytes of voxels", f"{n_bytes} bytes, as its header states")
        return content.view(self.dtype)


def data_file(path: Path) -> Path | None:
    """The file beside a header that holds the voxels; None where the header holds them or is not understood."""
    try:
        layout = layout_of(path)
    except (OSError, ValueError, UserError):
        return None
    return None if layout is None or layout.file == path else layout.file


def layout_of(path: Path) -> Layout | None:
    """Where the voxels lie; None where ITK alone can read them. Raises UserError where they lie in several files."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    return _nrrd(path, head) if head.startswith(b"NRRD") else _meta_image(path, head)


def check_text(path: Path) -> None:
    """A UserError where a text header would end the process within ITK."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    fields: dict[bytes, bytes] = {}
    is_nrrd = head.startswith(b"NRRD")
    for line in _lines(head):
        key, _, value = line.partition(b"=")
        if is_nrrd and not line.strip():
            break  # the voxels begin
        is_text = is_nrrd and (line.startswith(_NRRD_TEXTS) or key.endswith(b":"))
        if len(line) > (_LONGEST_TEXT if is_text else _LONGEST_LINE):
            raise not_understood(path, f"a line of {len(line)} bytes in its header", f"at most {_LONGEST_LINE}")
        fields[key.strip()] = value.strip()
        if key.strip() == b"ElementDataFile":
            break
    if not is_nrrd:
        _check_meta_size(path, fields)


def _lines(head: bytes) -> Iterator[bytes]:
    """The lines of a header, one at a time: the voxels behind it are not searched for more."""
    start = 0
    while (end := head.find(b"\n", start)) >= 0:
        yield head[start:end]
        start = end + 1
    yield head[start:]


def spacing_doubts(path: Path, n_axes: int) -> list[str]:
    """Sentences on a spacing that a header does not state along each of `n_axes`, and on a unit that is not the millimetre:
    ITK takes 1 mm for the one, and does not read the other.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    is_nrrd = head.startswith(b"NRRD")
    fields: dict[str, str] = {}
    for line in _lines(head):
        key, _, value = line.decode("latin-1").partition(":" if is_nrrd else "=")
        fields[key.strip().lower()] = value.strip()
        if key.strip() == "ElementDataFile" or (is_nrrd and not line.strip()):
            break
    if is_nrrd:
        vectors, numbers = fields.get("space directions", "").count("("), fields.get("spacings", "").lower().split()
        stated = max(vectors, len(numbers) - numbers.count("nan"))
        named = f"{fields.get('space units', '')} {fields.get('units', '')}".replace('"', " ").split()
        units = {unit for unit in named if unit.lower() not in _MILLIMETRES}
    else:
        stated = max(len(fields.get(key, "").split()) for key in ("elementspacing", "elementsize"))
        units = set()
    doubts = []
    if stated < n_axes:
        doubts.append(f"the header states the spacing along {stated} of {n_axes} axes: 1 mm is taken where it states none")
    if units:
        doubts.append(f"the header states its spacing in {', '.join(sorted(units))}: it is read as mm; write it in mm")
    return doubts


def _check_meta_size(path: Path, fields: Mapping[bytes, bytes]) -> None:
    axes, size = fields.get(b"NDims", b""), fields.get(b"DimSize", b"").split()
    if not (axes.isdigit() and 1 <= int(axes[:9]) <= _MOST_AXES and len(size) == int(axes) and all(map(bytes.isdigit, size))
            and b"ElementDataFile" in fields):
        shown = {key.decode(): fields.get(key, b"").decode("latin-1")[:80] for key in (b"NDims", b"DimSize")}
        raise not_understood(path, shown, f"NDims of 1 to {_MOST_AXES}, as many whole numbers as DimSize, and "
                             "ElementDataFile")


def _meta_image(path: Path, head: bytes) -> Layout | None:
    fields: dict[str, str] = {}
    offset = 0
    while "ElementDataFile" not in fields and (end := head.find(b"\n", offset)) >= 0:
        key, _, value = head[offset:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        offset = end + 1
    name, code = fields.get("ElementDataFile", ""), _META_TYPES.get(fields.get("ElementType", ""))
    skipped = int(fields.get("HeaderSize", "0"))
    is_local, is_compressed = name.upper() == "LOCAL", _is_true(fields.get("CompressedData", ""))
    is_binary = _is_true(fields.get("BinaryData", ""))
    if not name or code is None or skipped < 0 or not is_binary or (is_local and skipped):
        if is_compressed:  # ITK writes beyond its memory where such voxels do not unpack as they should (SimpleITK 2.5)
            raise not_understood(path, f"compressed voxels of {fields.get('ElementType', 'no type')}",
                                 "binary ones of a known type")
        return None
    is_big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "")))
    dtype = np.dtype((">" if is_big else "<") + code)
    return Layout(path if is_local else _beside(path, name), offset if is_local else skipped, dtype, is_compressed)


def _nrrd(path: Path, head: bytes) -> Layout | None:
    fields: dict[str, str] = {}
    offset = head.find(b"\n") + 1
    while offset and (end := head.find(b"\n", offset)) >= 0:
        line = head[offset:end].decode("latin-1").strip()
        offset = end + 1
        if not line:
            break
        key, _, value = line.partition(":")
        if not line.startswith("#") and not value.startswith("="):
            fields[key.strip().lower().replace(" ", "")] = value.strip()
    code, encoding = _NRRD_TYPES.get(fields.get("type", "").lower()), fields.get("encoding", "").lower()
    if code is None or encoding not in ("raw", "gzip", "gz") or _number(fields, "lineskip") or _number(fields, "byteskip"):
        return None
    dtype = np.dtype((">" if fields.get("endian", "").lower() == "big" else "<") + code)
    name = fields.get("datafile", "")
    file = _beside(path, name) if name else path
    return Layout(file, 0 if name else offset, dtype, encoding != "raw", _has_plain_axes(fields))


def _has_plain_axes(fields: dict[str, str]) -> bool:
    """Whether all axes are of space, or the first holds the channels of each voxel."""
    n_axes = len(fields.get("sizes", "").split())
    directions = fields.get("spacedirections", "").lower().replace(", ", ",").split()
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * n_axes
    in_space = [kind in ("domain", "space") for kind in kinds]
    is_first = not all(in_space[:1]) and kinds[0] in _CHANNEL_KINDS
    return all(in_space[is_first:]) and "none" not in directions[is_first:]


def _beside(path: Path, name: str) -> Path:
    if name.upper().startswith("LIST") or "%" in name:
        raise UserError("the voxels lie in several files", where=path, found=name, expected="one file of voxels",
                        do="save the image again as one .mha or .nrrd file")
    return path.parent / os.fsdecode(name.encode("latin-1"))  # headers are read byte by byte


def _number(fields: dict[str, str], key: str) -> int:
    return int(fields.get(key, "0"))


def _is_true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")
