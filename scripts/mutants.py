"""Switch every guard off in turn, and see whether simulation or search notices: ``make mutants``."""

import sys

from onefill.sim.mutants_run import main

if __name__ == "__main__":
    sys.exit(main())
