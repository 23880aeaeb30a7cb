"""Forms of results, as kubectl prints them."""
