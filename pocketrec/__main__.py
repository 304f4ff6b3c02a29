"""`python -m pocketrec` is the command `pocketrec`."""

import sys

from pocketrec.verbs import main

if __name__ == "__main__":
    sys.exit(main())
