"""Billing events on their way out: a store that keeps them until every sink has them, and the sinks.

At least once: an event is marked for a sink after the sink said that it is safe there, so a crash between the two sends it
again under the same id. In order for each session: a sink gets a session's events as they were stored, and a batch that
failed is sent again before anything behind it.
"""
