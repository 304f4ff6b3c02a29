"""A teacher or student for other engines: ONNX and SavedModel, and proof that they answer alike."""
