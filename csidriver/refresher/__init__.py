"""Keeps grants fresh: watches sources, runs the refresh protocol, writes companions."""
