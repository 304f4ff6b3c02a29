"""The error tree of Pocketrec; every error that a user can get is one of these.

Branches say what the caller can do, leaves say what went wrong:

    PocketrecError                 exit code 1
    ├─ ConfigError                 a setting, an option or an argument: change it
    ├─ BundleError                 a bundle cannot be used: get another one, keep the old one
    │   ├─ BundleFormatError       a file or field is missing or malformed
    │   ├─ BundleVersionError      the bundle is of a newer major version: update the runtime
    │   ├─ DigestMismatchError     a file is not what the manifest says: damaged or tampered with
    │   └─ GoldenMismatchError     this device does not reproduce the golden answers
    ├─ UpdateError                 an update was refused; the installed bundle still answers
    │   ├─ SignatureError          not signed by a trusted key
    │   ├─ RollbackError           older than what this device has seen
    │   ├─ ExpiredReleaseError     the server's metadata is out of date
    │   ├─ DeltaError              a delta cannot be used; the whole file is fetched instead
    │   └─ DownloadError           the network: try again later
    │       ├─ DownloadTooLargeError
    │       └─ HttpStatusError
    ├─ InferenceError              the model could not be run
    │   ├─ ModelLoadError
    │   └─ InputShapeError
    ├─ FeedbackError               an event was not stored
    │   ├─ QueueFullError
    │   ├─ QueueDamagedError
    │   └─ EventRejectedError
    ├─ StorageError                the disk: full, read-only, no permission
    ├─ TrainingError               in train/errors.py
    └─ CompressionError            in compress/errors.py
"""


class PocketrecError(Exception):
    """Root of every error of ours; its text is one sentence for the person at the keyboard."""

    exit_code = 1


class ConfigError(PocketrecError):
    """A setting or argument is not what was expected."""


class BundleError(PocketrecError):
    """A bundle cannot be used."""


class BundleFormatError(BundleError):
    """A file or a field of the bundle is missing or malformed."""


class BundleVersionError(BundleError):
    """The bundle's major format version is newer than this runtime."""


class DigestMismatchError(BundleError):
    """A file's length or SHA-256 differs from the manifest."""


class GoldenMismatchError(BundleError):
    """The golden queries do not give the expected answers on this device."""


class UpdateError(PocketrecError):
    """An update was refused; the installed bundle goes on answering."""


class SignatureError(UpdateError):
    """Metadata is not signed by enough trusted keys."""


class RollbackError(UpdateError):
    """Metadata or release is older than what this device has already seen."""


class ExpiredReleaseError(UpdateError):
    """Metadata has expired."""


class DeltaError(UpdateError):
    """A delta is malformed, belongs to another file, or asks for more than it may; the whole file does instead."""


class DownloadError(UpdateError):
    """The server could not be reached or did not answer as agreed."""


class DownloadTooLargeError(DownloadError):
    """The answer is longer than the signed length or the limit."""


class HttpStatusError(DownloadError):
    """The server answered with an error status.

    Attributes:
        status_code: the HTTP status.
        retry_after_s: how long the server asks to be left alone, in seconds; 0 when it does not ask.
    """

    def __init__(self, message: str, *, status_code: int, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after_s = retry_after_s


class InferenceError(PocketrecError):
    """The model could not be run."""


class ModelLoadError(InferenceError):
    """No interpreter is installed, or it refuses the model."""


class InputShapeError(InferenceError):
    """An input's shape or dtype is not what the signature takes."""


class FeedbackError(PocketrecError):
    """A feedback event was not stored."""


class QueueFullError(FeedbackError):
    """The feedback queue has reached its bound."""


class QueueDamagedError(FeedbackError):
    """The file of the feedback queue is damaged; a device sets it aside and begins a new one."""


class EventRejectedError(FeedbackError):
    """An event is malformed or not allowed by the privacy level."""


class StorageError(PocketrecError):
    """The disk is full, read-only or not permitted; nothing that was there before is lost."""
