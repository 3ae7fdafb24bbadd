"""The shared store: PostgreSQL through asyncpg, requests of one verb coalesced into one statement."""
