"""Where round, L1 block and funds come from: `static` (from configuration) or `rpc` (polled). The app imports one of them."""
