"""Gives the pages of a mapped file back: they stay in the system's cache, but not in this process's memory."""

import ctypes
import mmap
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_DONTNEED: int | None = getattr(mmap, "MADV_DONTNEED", None)


def release_mapping(mapping: mmap.mmap) -> None:
    """Give the pages of a read-only mapping back; a page that is read again is mapped again."""
    if _DONTNEED is not None:
        mapping.madvise(_DONTNEED)


def release_file_pages(path: Path) -> None:
    """Do the same for every read-only mapping of a file that a library has made; on Linux only, elsewhere nothing."""
    name = str(path.resolve())
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == name and fields[1].startswith("r--") and _DONTNEED is not None:
            start, end = (int(address, 16) for address in fields[0].split("-"))
            advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
