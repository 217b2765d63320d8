"""Handlers: loading them, invoking them, describing their failures."""
