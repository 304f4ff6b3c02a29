"""Data that may leave a device: the durable queue, private counts, reports, and the lists that events refer to."""
