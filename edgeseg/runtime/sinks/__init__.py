"""Where results go: files, videos, windows."""
