"""The refresher: watches sources, runs the refresh protocol and writes companions."""
