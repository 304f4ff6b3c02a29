"""A device process that records clicks as fast as it can and prints each number once it is durable; tests kill it."""

import sys
from pathlib import Path

from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.event_queue import FeedbackQueue

if __name__ == "__main__":
    with FeedbackQueue(Path(sys.argv[1]), max_events=1_000_000) as queue:
        while True:
            event = FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id="b")
            sys.stdout.write(f"{queue.record(event)}\n")
            sys.stdout.flush()
