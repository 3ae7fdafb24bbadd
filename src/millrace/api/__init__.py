"""Decode, call one scheduler verb, encode. The whole surface stands in one table with its access rules."""
