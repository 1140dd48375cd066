"""The admin API's shell: the HTTP server."""
