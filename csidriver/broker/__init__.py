"""The broker role: gives each node plugin the companions of the pods on its node."""
