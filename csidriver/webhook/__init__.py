"""The webhook role: answers kube-apiserver's admission reviews over HTTPS."""
