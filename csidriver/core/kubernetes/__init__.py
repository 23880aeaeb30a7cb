"""Values of the Kubernetes API: Secrets, Leases, Events, names and times. Pure."""
