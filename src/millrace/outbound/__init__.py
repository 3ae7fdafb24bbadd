"""Requests to addresses that strangers name: where they may go, the connection to exactly there, answers without end."""
