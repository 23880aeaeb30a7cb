"""The strict authorization server, the kubelet stand-in and the course of `make demo`."""
