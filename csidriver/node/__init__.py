"""The CSI node plugin: registration, publish, unpublish and leased in-place rewrites."""
