"""What the console shows: spending over time, and everything else that an operator looks at, read from the other adapters."""

from livepeer_remote_signer.adapters.overview.figures import Overview

__all__ = ["Overview"]
