"""`python -m recipes`: see `python -m recipes --help`."""

import sys

from recipes._core.command.cli import main

if __name__ == "__main__":
    sys.exit(main())
