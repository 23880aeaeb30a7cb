"""Tokens and the pods that mount them, without the bytes of any Secret."""
