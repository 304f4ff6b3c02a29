"""Published files, each stored under the SHA-256 of its content."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Protocol

from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder
from sync_server.errors import PublicationError

_SHA256 = re.compile(r"[0-9a-f]{64}")
# 256 KiB: few system calls, little memory for each upload.
_CHUNK_BYTES = 1 << 18


class Readable(Protocol):
    """Something with bytes to read: a file, or the body of a request."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


class FileStore:
    """A folder of content-addressed files. Every file in it is complete: it is renamed into place after its check."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def is_name(sha256: str) -> bool:
        """Return whether this is a SHA-256 in lower-case hex."""
        return _SHA256.fullmatch(sha256) is not None

    def path(self, sha256: str) -> Path | None:
        """Return where the file with this SHA-256 lies; None when there is no such file, or this is not a SHA-256."""
        if not self.is_name(sha256):
            return None
        path = self._folder / sha256[:2] / sha256
        return path if path.is_file() else None

    def put(self, sha256: str, content: Readable, *, max_bytes: int) -> int:
        """Store `content` under `sha256`; return its length in bytes. Storing a file again is harmless.

        Stopped halfway, the file is not there, and a `.tmp-*` file may lie in the folder.

        Raises:
            PublicationError: not a SHA-256, the content has another SHA-256, or is longer than `max_bytes`.
            StorageError: the disk is full, read-only or not permitted.
        """
        if not _SHA256.fullmatch(sha256):
            raise PublicationError(f"{sha256[:80]!r} is not a SHA-256 in lower-case hex; nothing was stored")
        folder = self._folder / sha256[:2]
        with disk_errors_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".tmp-", dir=folder)
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    digest, length = hashlib.sha256(), 0
                    while chunk := content.read(_CHUNK_BYTES):
                        length += len(chunk)
                        if length > max_bytes:
                            raise PublicationError(f"the file is longer than {max_bytes} bytes; nothing was stored")
                        digest.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if digest.hexdigest() != sha256:
                    raise PublicationError(
                        f"the uploaded file has SHA-256 {digest.hexdigest()}, expected {sha256}; nothing was stored"
                    )
                temporary.chmod(0o644)
                temporary.replace(folder / sha256)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(folder)
        return length
