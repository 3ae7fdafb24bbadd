"""Processes that run at times: when they come due, what becomes of runs that meet, who hears of it."""
