"""Change what runs: another plan, instances replaced one after the other, as many as a measure asks for."""
