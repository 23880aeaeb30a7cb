"""Runs the command as `python -m csidriver`."""

import sys

from csidriver.cli import main

sys.exit(main())
