"""Search: the text of a query or of a product -> its vector.

The student (train/models/student.py) learns it from the teacher's vectors: examples `distillation_batches`
(train/distillation.py), loss `distillation_loss` (train/losses/distillation.py), metric nDCG@10 of the judged queries
(compress/measure/quality.py).
"""

from edge_runtime.contract.bundle import EncoderSpec
from train.tasks.declaration import Signature, Task, register


def signatures(spec: EncoderSpec, dim: int) -> tuple[Signature, ...]:
    """Return the encoder at its two lengths."""
    return query_signature(spec.query_tokens), Signature("encode_item", {"ids": ((1, spec.item_tokens), "int32")})


def query_signature(tokens: int) -> Signature:
    """Return that of queries of `tokens` word pieces."""
    return Signature("encode_query", {"ids": ((1, tokens), "int32")})


SEARCH = register(Task("search", "student", signatures))
