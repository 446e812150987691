"""Names that the tests' asking process resolves. A module of its own, so that asking costs no other imports."""

REBINDING_NAME = "rebinding.example"
