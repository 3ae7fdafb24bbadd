"""How many workers a pool gets from the memory and the CPUs that there are."""
