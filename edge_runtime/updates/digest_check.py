"""Digests of a bundle that is being opened: models first; the largest other file in a second thread."""

import threading

from edge_runtime.contract.bundle import (
    ENCODER_FILE,
    TOKENIZER_FILE,
    VECTOR_INDEX_FILE,
    Artifact,
    Bundle,
    check_artifact,
    device_artifacts,
)
from edge_runtime.contract.errors import BundleError

_RUN_FILES = (ENCODER_FILE, TOKENIZER_FILE, VECTOR_INDEX_FILE)


class DigestCheck:
    """Compares every file that a device has with its digest; the largest that is not run has a thread of its own until `finish`."""

    def __init__(self, bundle: Bundle | None) -> None:
        """Begin with the largest file, and check what is run; None checks nothing.

        Raises:
            BundleError: a file that is run is not what the manifest says.
        """
        self._bundle = bundle
        self._rest: list[Artifact] = []
        self._error: BundleError | OSError | None = None
        self._thread: threading.Thread | None = None
        if bundle is None:
            return
        artifacts = sorted(device_artifacts(bundle.manifest), key=lambda one: one.length_bytes)
        *self._rest, largest = (one for one in artifacts if one.path not in _RUN_FILES)
        self._thread = threading.Thread(target=self._check_largest, args=(bundle, largest), daemon=True)
        self._thread.start()
        try:
            for artifact in artifacts:
                if artifact.path in _RUN_FILES:
                    check_artifact(bundle.folder, artifact)
        except BaseException:
            self._thread.join()
            raise

    def finish(self) -> None:
        """Check the files that are left, and wait for the largest.

        Raises:
            BundleError: a file is not what the manifest says.
        """
        try:
            while self._bundle is not None and self._rest:
                check_artifact(self._bundle.folder, self._rest.pop())
        finally:
            if self._thread is not None:
                self._thread.join()
        if self._error is not None:
            raise self._error

    def _check_largest(self, bundle: Bundle, artifact: Artifact) -> None:
        try:
            check_artifact(bundle.folder, artifact)
        except (BundleError, OSError) as error:
            self._error = error
