"""The ledgers of the tests beside."""

from tests.adapters.ledger.conftest import place

__all__ = ["place"]
