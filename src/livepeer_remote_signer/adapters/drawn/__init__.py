"""What the chain has paid of the tickets that were signed: followed, found in the ledger, and told of."""
