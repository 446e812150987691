"""HTTP requests that the signer makes of its own: one way to configure them, and what they share.

Credentials go over these links, so no variable of the environment says through whom: `outbound.proxy` alone does.
"""

from livepeer_remote_signer.adapters.outbound.links import Outbound, OutboundFault, disobeyed_variables

__all__ = ["Outbound", "OutboundFault", "disobeyed_variables"]
