"""Where the frozen file starts."""

import sys

from dynamo_fe.cli.entry import main

sys.exit(main())
