"""Where the frozen import check starts: imports each module that its arguments name, or fails on the first it lacks.

It is frozen from the same analysis as the product, so what it can import the product can.
"""

import importlib
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)
print(len(sys.argv) - 1, "modules imported")
