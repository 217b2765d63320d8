"""Canary rollouts: a new version on a few pods, judged by what they and the stable pods count, then promoted or not."""
