"""Composition roots: the only place that builds concrete things and wires them."""
