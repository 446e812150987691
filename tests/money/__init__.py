"""Money that reconciles: what was signed, what the chain has paid, and what the ledger, its events and its figures say of it."""
