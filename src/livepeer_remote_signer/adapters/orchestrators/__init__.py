"""Orchestrators as this service reaches them: GetOrchestrator over gRPC, `/discovery` over HTTPS. Imported when configured."""

from livepeer_remote_signer.adapters.orchestrators.client import OrchestratorClient
from livepeer_remote_signer.adapters.orchestrators.names import resolve_name

__all__ = ["OrchestratorClient", "resolve_name"]
