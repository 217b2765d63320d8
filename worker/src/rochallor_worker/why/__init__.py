"""`rochallor-worker why`: why an instance does not move on.

`facts` is what can be known of an instance, its step and the workers of its job type; `verdict` finds the first thing
that stops it, and is pure. `gather` asks the engine and `kubectl`, and `kubernetes` has the form of its answers.
"""
