"""All losses, as functions of scores and targets.

Networks are in `train/models`, batches in `train/sampling`, the training loop in `train/loop.py`.
"""

MASK_LOGIT = -1e9
"""The logit of what is no candidate: its softmax is exactly 0 in float32, and 0 times it is 0, as with no infinity."""

COSINE_TEMPERATURE = 0.05
"""A cosine divided by this is a logit: the temperature of SimCSE (Gao et al., 2021) and of sentence-transformers' losses."""
