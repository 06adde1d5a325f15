"""``python -m onefill``: the command line, for where the script ``onefill`` is not on the path."""

from onefill.cli.main import main

if __name__ == "__main__":
    main()
