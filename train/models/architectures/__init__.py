"""The student's architectures, one file each: the layers between the word table and the pooling.

A file registers one with `@student_architecture` (train/models/student.py). A layer that only this architecture needs is
a `OneOperation` in the same file.
"""
