"""The verbs of a master. One file is one use case is one transaction."""
