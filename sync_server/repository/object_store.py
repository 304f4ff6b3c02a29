"""Published files in storage that several servers share (S3, or what else fsspec supports), with local copies."""

from pathlib import Path
from typing import Any, cast

import fsspec
from botocore.exceptions import BotoCoreError

from edge_runtime.contract.errors import ConfigError, StorageError
from sync_server.errors import PublicationError
from sync_server.repository.file_store import FileStore, Readable


class SharedFileStore(FileStore):
    """Files under their SHA-256 in shared storage; at its first use a file is copied to the folder and checked.

    Args:
        folder: the local copies; any of them may be removed while the server is down.
        url: like s3://bucket/releases. Keys and region are read from the usual places (AWS_… variables, a profile or the
            machine's role).
        endpoint_url: of an S3-compatible service; "" for Amazon's own.
        max_file_bytes: a longer file is not copied.

    Raises:
        ConfigError: not a URL that fsspec knows.
    """

    def __init__(self, folder: Path, *, url: str, endpoint_url: str, max_file_bytes: int) -> None:
        super().__init__(folder)
        self._max_file_bytes = max_file_bytes
        options: dict[str, Any] = {"endpoint_url": endpoint_url} if endpoint_url else {}
        if url.startswith("file:"):
            # Object stores need no folders, but a network file system does.
            options["auto_mkdir"] = True
        try:
            filesystem, self._prefix = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError, TypeError) as error:
            raise ConfigError("files_url: expected a URL like s3://bucket/releases") from error
        self._filesystem = filesystem

    def path(self, sha256: str) -> Path | None:
        """Return the file's path in the folder, after copying it there if necessary; None when there is none.

        Raises:
            StorageError: the shared storage does not answer, or has other content under this name.
        """
        found = super().path(sha256)
        if found is not None or not self.is_name(sha256):
            return found
        try:
            with self._filesystem.open(self._key(sha256), "rb") as file:
                super().put(sha256, cast("Readable", file), max_bytes=self._max_file_bytes)
        except FileNotFoundError:
            return None
        except PublicationError as error:
            raise StorageError(f"the shared storage has other content under {sha256[:12]}…: {error}") from error
        except (OSError, BotoCoreError) as error:
            raise StorageError(
                f"the shared storage cannot be read ({type(error).__name__}); try again later"
            ) from error
        return super().path(sha256)

    def put(self, sha256: str, content: Readable, *, max_bytes: int) -> int:
        """Store `content` in the folder, then in the shared storage; return its length in bytes.

        Stopped halfway, other servers do not see the file; storing it again is harmless.

        Raises:
            PublicationError: not a SHA-256, the content has another SHA-256, or is longer than `max_bytes`.
            StorageError: the disk or the shared storage.
        """
        length = super().put(sha256, content, max_bytes=max_bytes)
        try:
            self._filesystem.put_file(str(super().path(sha256)), self._key(sha256))
        except (OSError, BotoCoreError) as error:
            raise StorageError(f"the shared storage cannot be written ({type(error).__name__})") from error
        return length

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}/{sha256[:2]}/{sha256}"
