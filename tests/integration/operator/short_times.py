"""The operator with shorter times: $SHORT_TIMES is a JSON object of `module.NAME` and seconds."""

from __future__ import annotations

import json
import os
from importlib import import_module

from rochallor_operator.__main__ import main

for place, value in json.loads(os.environ["SHORT_TIMES"]).items():
    module, name = place.rsplit(".", 1)
    assert hasattr(import_module(f"rochallor_operator.{module}"), name)
    setattr(import_module(f"rochallor_operator.{module}"), name, value)

if __name__ == "__main__":
    main()
