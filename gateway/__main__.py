"""`python -m gateway` is `headgate`."""

import sys

from gateway.cli import main


sys.exit(main())
