"""Whether handlers are idempotent: they run against a dev engine while workers, leases, answers and calls fail.

`plan` says what goes wrong, `stage` lets it happen to real worker processes, `effects` sees what their runs change, and
`verdict` judges it.
"""
