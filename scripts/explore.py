"""The exhaustive search of small worlds over the real core: ``make explore``, or this with ``--help``."""

import sys

from onefill.sim.explore_run import main

if __name__ == "__main__":
    sys.exit(main())
