"""Settings, read once, frozen and validated; each error is one clear sentence."""
