"""Checks what a worker's settings point to, and whether a worker could start with them.

`examine` runs all checks: `engine` and `brokers` are those of the network. `probe` finds out what an engine is, and
`facts` what a worker may rely on there.
"""
