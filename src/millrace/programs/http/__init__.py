"""HTTP/1.1 as a service: sockets, connections, requests and answers, for any ASGI application."""
