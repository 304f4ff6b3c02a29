"""Exports a teacher or student to other engines (ONNX, SavedModel), and checks that their answers agree."""
