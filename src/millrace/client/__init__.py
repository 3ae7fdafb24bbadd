"""The typed HTTP client: retries, fail-over between masters, uploads."""
