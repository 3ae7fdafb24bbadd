"""From a task and probed facts to argument lists, and from an engine's output to facts. Starts nothing."""
