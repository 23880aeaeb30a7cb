"""OAuth 2.0 as the driver speaks it: RFC 6749, 7519, 7662, 8414. Pure."""
