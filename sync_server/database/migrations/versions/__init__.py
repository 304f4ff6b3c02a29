"""One file per step; `down_revision` chains them."""
