"""Where the frozen file starts."""

import sys

from dynamo_fe.cli.main import main

sys.exit(main())
