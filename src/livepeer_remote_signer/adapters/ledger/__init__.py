"""The ledger: spend, sequence numbers and billing events, recorded durably before a payment leaves the process.

`engine` gathers payments into batches and commits each batch as one transaction; `sqlite` and `postgres` are the places
where rows are kept; `outbox`, `controls` and `housekeeping` are what else reads and writes them. The decisions are
`core.ledger` and `core.budgets`.
"""
