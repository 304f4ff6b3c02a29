"""What the device's model answers, one file a task: its examples, head, loss, metric and signature in `encoder.tflite`.

A file declares its `Task` with `register` (train/tasks/declaration.py) and is found by that. A build trains and quantizes
the `Head` that it declares and converts it beside the others; search and the next basket, which have no `Head`, have
stages of their own. What several tasks share lies in train/models, train/losses and train/sampling.
"""
