"""Runs the command line as `python -m csidriver.kubectl`."""

import sys

from csidriver.kubectl.main import main

sys.exit(main())
