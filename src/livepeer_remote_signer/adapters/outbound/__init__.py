"""HTTP requests that the signer makes of its own: one way to configure them, and what they share."""
