"""Keys outside this host, each with a real service: anvil's `eth_sign`, an AWS KMS that runs here, and SoftHSM."""
