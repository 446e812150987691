"""Small wrong changes put into the source, one at a time: would a test notice? `make mutants`; not part of CI.

    python -m tests.mutants [--seed N] [--count N] [--subject NAME ...] [--jobs N] [--seconds S]
    python -m tests.mutants --only MUTANT [--tests PATH ...]

The tests are collected once. A first run notes which test touches which line; then each mutant lives in a fork of its own,
where the code of the live functions is replaced and only the tests that touch its line are run, quickest first. A survivor
is either judged in `survivors.yaml`, with the reason why it makes no difference, or a hole that wants a test.
"""
