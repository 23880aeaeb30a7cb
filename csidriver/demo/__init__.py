"""The strict authorization server, the kubelet stand-in and the story `make demo` tells."""
