"""The admission webhook's responses, and the rotation of its certificates. Pure."""
