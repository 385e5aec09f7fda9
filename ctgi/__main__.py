"""`python -m ctgi` is the `ctgi` command."""

import sys

from ctgi.cli.main import main

sys.exit(main())
