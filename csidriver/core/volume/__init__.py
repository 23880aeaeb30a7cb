"""The volume that a pod asks for, and the conditions under which the pod may start. Pure."""
