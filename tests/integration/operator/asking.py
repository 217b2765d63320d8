"""The operator, asking pods at the port $REPORT_PORT, with $SHORT_TIMES and $KILL_AT as in their modules."""

from __future__ import annotations

import os
from importlib import import_module

from rochallor_operator.__main__ import main
from rochallor_operator.reconcile import Reconciler

_port, *_others = Reconciler.__init__.__defaults__ or ()
Reconciler.__init__.__defaults__ = (int(os.environ["REPORT_PORT"]), *_others)
for variable, module in (("SHORT_TIMES", "short_times"), ("KILL_AT", "killed")):
    if variable in os.environ:
        import_module(f"integration.operator.{module}")

if __name__ == "__main__":
    main()
