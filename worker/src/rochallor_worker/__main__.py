"""`python -m rochallor_worker`."""

from rochallor_worker.cli import main

main()
