"""`python -m gateway` is `gateway`. Worker processes import this file again, so nothing runs outside the guard."""

import sys

from gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
