"""Small wrong changes put into the source, one at a time: would a test notice? `make mutants`; not part of CI.

    python -m tests.mutants [--seed N] [--count N] [--subject NAME ...] [--jobs N] [--seconds S]
    python -m tests.mutants --only MUTANT [--tests PATH ...]

The tests are collected once. A first run notes which test touches which line; then each mutant lives in a fork of its own,
where the code of the live functions is replaced and only the tests that touch its line are run, quickest first. A survivor
is either judged in `survivors.yaml`, with the reason why it makes no difference, or a hole that wants a test.

Tests that fail in the first run are left out, and on a busy machine slow ones do not come to their turn: what is listed there may be
noticed all the same. `--only`, with the tests that should notice and more `--seconds`, tells.

The last whole run, of seed 20: 1,000 mutants, of which 997 could be made, in 3,581 s on two busy cores; 727 were noticed and 12 hung, 203
survived and 55 were touched by no test. Those 258 have been noticed since, by the tests that they asked for, or are judged.
"""
