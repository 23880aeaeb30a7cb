"""Grants without a refresh token, and clients that authenticate with signed assertions."""
