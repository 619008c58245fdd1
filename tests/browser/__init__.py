"""Pages in Chromium. A package, so that its browser is closed with its last test: others run event loops of their own."""
