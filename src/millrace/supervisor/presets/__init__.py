"""Plans to begin with, each with what builds and runs its container."""
