"""Processes: the served one, the workers and their supervisor, and the socket they share."""
