"""`python -m mezzotint` is the command `mezzotint`."""

import sys

from mezzotint.cli.main import main

sys.exit(main())
