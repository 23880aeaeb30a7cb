"""The command line `kubectl oauth2-csi`: every request to the cluster is a call of kubectl."""
