"""The README's pictures: `python -m tests.pictures` makes them, each with the commit that it was made at."""
