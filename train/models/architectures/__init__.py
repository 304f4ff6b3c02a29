"""The student's architectures, one file each: what happens between the word table and the pooling.

A file declares one with `@student_architecture` (train/models/student.py) and is found by that; a layer that only it
needs is a `OneOperation` in the same file.
"""
