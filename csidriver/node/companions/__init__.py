"""Sources of companions: brokers (docs/protocol.md section 9), or the watches of a store."""
