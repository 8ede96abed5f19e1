"""`python -m dynamo_fe`."""

import sys

from dynamo_fe.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
