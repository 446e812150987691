"""The imperative shell: gather -> plan -> authorize -> reserve -> sign -> record, and the seams it needs for that.

`payments` is the way of one payment, `signing` makes signatures, `observers` are told of outcomes, and `seams` declares
each outside thing as a small Protocol, implemented in `adapters`.
"""
