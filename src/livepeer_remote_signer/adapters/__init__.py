"""I/O, one outside thing per module. Adapters import core only; `app` alone chooses among them."""
