"""A simulated orchestrator and a simulated gateway, and the story that `livepeer-remote-signer simulate` tells with them.

The orchestrator judges every payment with code of its own: nothing in here uses the package's hashing or signing, so a
mistake there cannot confirm itself.
"""
