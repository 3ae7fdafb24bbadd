"""Pages for people, made with the same verbs as the API."""
