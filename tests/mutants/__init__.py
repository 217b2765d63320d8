"""Whether the unit tests notice when a rule of the core is broken: `make mutants`."""
