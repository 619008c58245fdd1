"""The Python client, for threads and for asyncio: what is asked of a server, and how its answers are read."""
