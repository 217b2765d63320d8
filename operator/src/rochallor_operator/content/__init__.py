"""The content of Secrets and ConfigMaps in use, and when a change of it is rolled out."""
