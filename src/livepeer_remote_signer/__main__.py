"""`python -m livepeer_remote_signer`: the same as the command."""

import sys

from livepeer_remote_signer.cli import main

sys.exit(main())
