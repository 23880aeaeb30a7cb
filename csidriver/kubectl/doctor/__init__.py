"""`kubectl oauth2-csi doctor`: checks of an issuer, of the driver, and of the user's rights."""
