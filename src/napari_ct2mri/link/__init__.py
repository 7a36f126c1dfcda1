"""Bytes to a board and back; knows nothing of networks, images or Qt."""
