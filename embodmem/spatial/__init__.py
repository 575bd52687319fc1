"""Where things are: the brick octree and the scene graph."""
