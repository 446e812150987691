"""The remote signer of a Livepeer gateway: elapsed session time in, signed probabilistic-micropayment tickets out."""

__version__ = "0.2.0.dev0"
