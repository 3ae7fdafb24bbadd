"""How a long-lived thing starts, ticks, waits and stops; the clock and back-off."""
