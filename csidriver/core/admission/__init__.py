"""What the admission webhook answers, and when its certificates are replaced. Pure."""
