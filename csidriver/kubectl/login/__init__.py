"""`kubectl oauth2-csi login`: from a login in the browser to a Secret that is kept fresh."""
