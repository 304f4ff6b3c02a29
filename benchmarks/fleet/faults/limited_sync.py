"""`pocketrec node sync --home HOME`, with another limit of a request than 900 s.

python -m benchmarks.fleet.faults.limited_sync HOME SECONDS
"""

import functools
import sys
from unittest import mock

from edge_runtime import node
from edge_runtime.updates.http_transport import HttpTransport, TimeLimits
from pocketrec.verbs import main

if __name__ == "__main__":
    home, seconds = sys.argv[1:]
    # Between two bytes a device waits 20 s, so only the limit of the whole request can be what ends a drip.
    limited = functools.partial(HttpTransport, limits=TimeLimits(total_s=float(seconds)))
    with mock.patch.object(node, "HttpTransport", limited):
        sys.exit(main(["node", "sync", "--home", home]))
