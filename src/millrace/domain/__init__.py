"""The words and rules of the farm: pure functions over frozen values; the time is an argument."""
