"""Version 1 of the protocol. Unknown fields are refused in requests and ignored in replies, so that either side may be newer."""
