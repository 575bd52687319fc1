"""The scene graph."""
