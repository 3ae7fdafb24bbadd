"""Films that were made to do harm, by scripts: nothing of them is stored. `python -m hostile` runs them by hand."""
