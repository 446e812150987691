"""The list of orchestrators behind `GET /discover-orchestrators`. Imported when discovery is enabled."""

from livepeer_remote_signer.adapters.discovery.crew import AskingCrew
from livepeer_remote_signer.adapters.discovery.messages import Job
from livepeer_remote_signer.adapters.discovery.snapshot import Discovery, DiscoveryPace

__all__ = ["AskingCrew", "Discovery", "DiscoveryPace", "Job"]
