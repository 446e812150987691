"""HTTP only: routes, bodies, replies and the one table of statuses. Decisions are made in `service` and `core`."""
