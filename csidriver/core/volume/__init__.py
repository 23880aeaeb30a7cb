"""What a pod asks of a volume, and whether its token lets the pod start. Pure."""
