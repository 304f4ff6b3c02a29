"""The bundle: a flat folder of files named in `manifest.json`; both sides of the format (docs/bundle-format.md).

Writing: fill a folder with the files, then `seal_bundle`. Reading: `open_bundle`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import BundleFormatError, BundleVersionError, DigestMismatchError

FORMAT_NAME = "pocketrec-bundle"
FORMAT_MAJOR = 1
FORMAT_VERSION = "1.1"
"""The major part rises when older runtimes cannot read new bundles, the minor one when something may be ignored."""

MANIFEST_FILE = "manifest.json"
ENCODER_FILE = "encoder.tflite"
VECTOR_INDEX_FILE = "catalogue.tflite"
CATALOGUE_ROWS_FILE = "catalogue.sqlite"
ITEM_VECTORS_FILE = "item_vectors.npy"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.json"
REPORT_FILE = "report.json"
REPORT_PAGE_FILE = "report.html"
MODEL_CARD_FILE = "model_card.md"

MODEL_FILES = (ENCODER_FILE, TOKENIZER_FILE)
REPORT_FILES = (REPORT_FILE, REPORT_PAGE_FILE, MODEL_CARD_FILE)
"""What the builder measured, for people: a device neither downloads nor reads it."""
CATALOGUE_FILES = (VECTOR_INDEX_FILE, CATALOGUE_ROWS_FILE, ITEM_VECTORS_FILE)

MAX_MANIFEST_BYTES = 1_000_000
"""A manifest of ten files has some 3 kB; whoever sends a longer one must not fill the device's memory."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Artifact(msgspec.Struct, frozen=True):
    """One file of the bundle: plain name without folders, length in bytes, SHA-256 in lower-case hex."""

    path: str
    length_bytes: int
    sha256: str


class VectorSpace(msgspec.Struct, frozen=True):
    """The vector space of queries, items and histories.

    `id` changes whenever old and new vectors are no longer comparable; encoder and catalogue must name the same one.
    """

    id: str
    dim: int


class EncoderSpec(msgspec.Struct, frozen=True):
    """Fixed lengths of the signatures in `encoder.tflite`.

    `encode_query`: `ids` int32 [1, query_tokens] -> `vector` float32 [1, dim].
    `encode_item`: `ids` int32 [1, item_tokens] -> `vector` float32 [1, dim].
    `encode_history`: `items` float32 [1, history_items, dim], `mask` float32 [1, history_items] (1 = an item, newest
    item last, padding in front) -> `vector` float32 [1, dim] and, where repeats were learned, `repeat` float32
    [1, history_items]: what each slot adds to the score of its own product. The score of a product is (vector · item +
    the sum of its slots' repeats) / |vector|.
    Token id 0 is padding, at the end. Vectors are not of unit length: the runtime normalizes them.
    """

    query_tokens: int
    item_tokens: int
    history_items: int


class CatalogueSpec(msgspec.Struct, frozen=True):
    """`catalogue.tflite`: `query` float32 [1, dim] -> `scores` float32 [1, candidates], `rows` int32 [1, candidates].

    Row r is the r-th row of `item_vectors.npy` (float16 [products, dim], unit length) and the row with
    `row = r` of table `products` in `catalogue.sqlite`.
    """

    products: int
    candidates: int


class FusionSpec(msgspec.Struct, frozen=True):
    """Weights of hybrid search, learned on training queries.

    Score of a candidate = dense_weight * (cosine + 1) / (best cosine + 1) + (1 - dense_weight) * lexical / (best
    lexical): a convex combination after normalization by the theoretical minimum (Bruch, Gai and Ingber, "An Analysis
    of Fusion Functions for Hybrid Retrieval", 2023).

    lexical = bm25 / (best bm25) + sum over `coverage_weights` of weight * coverage of that text column. Coverage is the
    share of the query's words, each weighted by its inverse document frequency, that the column holds; "any" stands for
    all columns together. `field_weights`: BM25 weight of each text column.
    """

    dense_weight: float
    field_weights: dict[str, float]
    coverage_weights: dict[str, float] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` says; unknown fields are ignored, so that a minor version may add some."""

    format: str
    format_version: str
    name: str
    created_at: str
    config_digest: str
    shop_digest: str
    space: VectorSpace
    encoder: EncoderSpec
    catalogue: CatalogueSpec
    fusion: FusionSpec
    artifacts: list[Artifact]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `bundle_id` is the SHA-256 of the manifest's bytes and so names every byte of the bundle."""

    folder: Path
    manifest: Manifest
    bundle_id: str

    def path(self, name: str) -> Path:
        """Return the path of the artifact `name`.

        Raises:
            BundleFormatError: the manifest names no such file.
        """
        if all(artifact.path != name for artifact in self.manifest.artifacts):
            raise BundleFormatError(f"{self.folder / MANIFEST_FILE} names no file {name}; build the bundle again")
        return self.folder / name


def describe_file(path: Path) -> Artifact:
    """Return name, length and SHA-256 of the file at `path`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(path=path.name, length_bytes=path.stat().st_size, sha256=digest)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's bytes: sorted keys, two spaces of indent, so that equal manifests are equal files."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def decode_manifest(data: bytes, *, source: str) -> Manifest:
    """Read and check the bytes of a manifest that nobody has vouched for; `source` names them in errors.

    Raises:
        BundleFormatError: not JSON, a field is missing or of the wrong type, or a path that is not a plain file name.
        BundleVersionError: a newer major version.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleFormatError(f"{source}: {len(data)} bytes, a manifest has {MAX_MANIFEST_BYTES} at most")
    try:
        head = msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{source} is not a JSON object ({error}); get the bundle again") from error
    if head.get("format") != FORMAT_NAME:
        raise BundleFormatError(f"{source}: expected format {FORMAT_NAME!r}, found {head.get('format')!r}")
    version = str(head.get("format_version", ""))
    major, _, minor = version.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise BundleFormatError(f"{source}: expected format_version like {FORMAT_VERSION!r}, found {version!r}")
    if int(major) > FORMAT_MAJOR:
        raise BundleVersionError(
            f"{source} has format version {version}, this runtime reads {FORMAT_MAJOR}.x; update the runtime"
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{source}: {error}; get the bundle again") from error
    _check_artifacts(manifest, source)
    return manifest


def _check_artifacts(manifest: Manifest, source: str) -> None:
    seen: set[str] = set()
    for artifact in manifest.artifacts:
        if not _PLAIN_NAME.fullmatch(artifact.path) or artifact.path == MANIFEST_FILE:
            raise BundleFormatError(
                f"{source}: {artifact.path!r} is not a plain file name; a bundle's files lie beside its manifest"
            )
        if artifact.path in seen:
            raise BundleFormatError(f"{source} names {artifact.path} twice")
        if artifact.length_bytes < 0 or not _SHA256.fullmatch(artifact.sha256):
            raise BundleFormatError(f"{source}: length or SHA-256 of {artifact.path} is malformed")
        seen.add(artifact.path)
    missing = {*MODEL_FILES, *CATALOGUE_FILES, GOLDEN_FILE} - seen
    if missing:
        raise BundleFormatError(f"{source} does not name {', '.join(sorted(missing))}; build the bundle again")


def check_artifact(folder: Path, artifact: Artifact, *, digest: bool = True) -> None:
    """Compare one file with what the manifest says of it.

    Raises:
        BundleFormatError: the file is missing or a symbolic link.
        DigestMismatchError: its length or, when `digest`, its SHA-256 differs.
    """
    path = folder / artifact.path
    if path.is_symlink() or not path.is_file():
        raise BundleFormatError(f"{path} is missing or not a regular file; get the bundle again")
    length = path.stat().st_size
    if length != artifact.length_bytes:
        raise DigestMismatchError(
            f"{path} has {length} bytes, the manifest says {artifact.length_bytes}: it is cut or changed; get the bundle again"
        )
    if digest and describe_file(path).sha256 != artifact.sha256:
        raise DigestMismatchError(
            f"{path} is not the file that the manifest names: its SHA-256 differs; get the bundle again"
        )


def device_artifacts(manifest: Manifest) -> list[Artifact]:
    """Return the files of a bundle that a device has: all but `REPORT_FILES`."""
    return [artifact for artifact in manifest.artifacts if artifact.path not in REPORT_FILES]


def open_bundle(folder: Path | str, *, verify: bool = True, on_device: bool = False) -> Bundle:
    """Read the manifest of the bundle in `folder` and check its files.

    Args:
        folder: where `manifest.json` lies.
        verify: compare every file's SHA-256 (some 1.5 ms per MB). Lengths are always compared.
        on_device: look only at the files that a device has.

    Raises:
        BundleFormatError: no such folder, no manifest, a malformed one, or a missing file.
        BundleVersionError: a newer major version.
        DigestMismatchError: a file was cut or changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleFormatError(f"{folder} is not a bundle: cannot read {path} ({error.strerror})") from error
    manifest = decode_manifest(data, source=str(path))
    for artifact in device_artifacts(manifest) if on_device else manifest.artifacts:
        check_artifact(folder, artifact, digest=verify)
    return Bundle(folder=folder, manifest=manifest, bundle_id=hashlib.sha256(data).hexdigest())


def seal_bundle(
    folder: Path,
    *,
    name: str,
    created_at: str,
    config_digest: str,
    shop_digest: str,
    space: VectorSpace,
    encoder: EncoderSpec,
    catalogue: CatalogueSpec,
    fusion: FusionSpec,
) -> Bundle:
    """Describe every file in `folder` and write the manifest, which makes the folder a bundle.

    Stopped halfway, the folder has no manifest and so is no bundle.

    Raises:
        BundleFormatError: a file that every bundle has is missing, or a name is not plain.
        StorageError: the disk is full, read-only or not permitted.
    """
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST_FILE)
    manifest = Manifest(
        format=FORMAT_NAME,
        format_version=FORMAT_VERSION,
        name=name,
        created_at=created_at,
        config_digest=config_digest,
        shop_digest=shop_digest,
        space=space,
        encoder=encoder,
        catalogue=catalogue,
        fusion=fusion,
        artifacts=[describe_file(path) for path in files],
    )
    _check_artifacts(manifest, str(folder / MANIFEST_FILE))
    write_bytes_atomically(folder / MANIFEST_FILE, encode_manifest(manifest))
    return open_bundle(folder, verify=False)
