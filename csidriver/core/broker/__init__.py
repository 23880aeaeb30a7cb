"""Rules of the broker: who asks, and for which objects a pod on his node may ask."""
