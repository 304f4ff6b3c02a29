"""Downloads signed files: at most their signed length, resumed after an interruption, verified before use."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import TargetFile

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import DownloadError, DownloadTooLargeError, SignatureError
from edge_runtime.updates.http_transport import Answer, Transport, check_answer, read_limited
from edge_runtime.updates.tuf_client import check_content


@dataclass(frozen=True)
class Downloads:
    """Downloads signed targets through `transport`; `on_bytes` is called with the length of each piece that arrives."""

    transport: Transport
    on_bytes: Callable[[int], None] = lambda _: None

    def to_memory(self, target: TargetFile, url: str, *, max_bytes: int) -> bytes:
        """Return the content of a small target.

        Raises:
            DownloadTooLargeError: its signed length is above `max_bytes`, or more arrives than was signed.
            SignatureError: its length or SHA-256 is not what was signed.
            DownloadError: the network.
        """
        if target.length > max_bytes:
            raise DownloadTooLargeError(
                f"{target.path} has {target.length} bytes, {max_bytes} are allowed; it was not read"
            )
        with self.transport.open("GET", url) as answer:
            check_answer(answer, url)
            data = read_limited(self._reported(answer.chunks), target.length, what=target.path)
        check_content(target, data)
        return data

    def to_file(self, target: TargetFile, url: str, *, partial: Path, destination: Path) -> int:
        """Put the content of a target at `destination`; return the number of bytes that came over the network.

        `partial` (same disk) collects the bytes; what lies there from an earlier call is not downloaded again.
        Stopped halfway, `destination` does not exist and `partial` holds the beginning.

        Raises:
            DownloadTooLargeError: more arrives than was signed.
            SignatureError: the server's file is shorter or another than was signed; `partial` is removed.
            DownloadError: the network; call again to continue.
            StorageError: the disk is full, read-only or not permitted.
        """
        with disk_errors_named(partial):
            have = partial.stat().st_size if partial.exists() else 0
            try:
                received = self._fetch_rest(url, partial, have, target.length) if have != target.length else 0
                length = partial.stat().st_size
                if length < target.length:
                    raise DownloadError(
                        f"the connection broke after {length} of {target.length} bytes; try again later"
                    )
                with partial.open("rb") as file:
                    check_content(target, file)
            except SignatureError:
                partial.unlink()
                raise
            partial.replace(destination)
        return received

    def _fetch_rest(self, url: str, partial: Path, have: int, length: int) -> int:
        resume = 0 < have < length
        with self.transport.open("GET", url, headers={"Range": f"bytes={have}-"} if resume else {}) as answer:
            check_answer(answer, url)
            resumed = resume and _continues_at(answer, have)
            room = length - have if resumed else length
            received = 0
            with partial.open("ab" if resumed else "wb") as file:
                for chunk in self._reported(answer.chunks):
                    received += len(chunk)
                    if received > room:
                        raise DownloadTooLargeError(
                            f"the server sent more than the {length} bytes that were signed; the rest was not read"
                        )
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            if received < room and _ends_after(received, answer):
                raise SignatureError(
                    f"the server's file ends {room - received} bytes before the {length} that were signed; it was refused"
                )
        return received

    def _reported(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.on_bytes(len(chunk))
            yield chunk


def _ends_after(received: int, answer: Answer) -> bool:
    """Tell whether the server's own file ends there; without a length, a body may end because its connection broke."""
    return answer.headers.get("content-length") == str(received) or "transfer-encoding" in answer.headers


def _continues_at(answer: Answer, offset: int) -> bool:
    return answer.status == 206 and answer.headers.get("content-range", "").startswith(f"bytes {offset}-")
