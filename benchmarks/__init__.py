"""Repeatable measurements of the served signer over real HTTP on loopback. `make bench` runs them; see README.md."""
