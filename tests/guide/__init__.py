"""The operator guide, walked line by line."""
