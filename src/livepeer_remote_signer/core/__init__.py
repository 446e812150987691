"""The protocol, pure: no I/O, clock, random numbers, logging or asyncio. Values and `now` in, a plan or an error out."""
