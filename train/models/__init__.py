"""The networks: teacher, student, cross-encoder, history head, and their parts.

Their training is in `train` itself and in `losses` and `sampling`.
"""
