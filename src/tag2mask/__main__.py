"""`python -m tag2mask`."""

import sys

from tag2mask.cli import main

if __name__ == "__main__":
    sys.exit(main())
