"""Pages in Chromium. A package, so that the browser is closed with the last of them: others run event loops."""
