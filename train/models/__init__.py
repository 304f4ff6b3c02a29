"""The networks: teacher, student, cross-encoder, history head, and the parts they are made of.

How they are trained lies in `train` itself and in `losses` and `sampling`.
"""
