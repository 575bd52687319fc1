"""Maps as files of other programs: OctoMap's .bt and .ot, point clouds as .ply and .pcd.

`load_map` and `save_map` choose the format by the extension. A file that cannot be read raises `InvalidInput`; a file
that cannot be written whole is not touched.
"""

from embodmem.spatial.octree.files.maps import MAP_FORMATS, load_map, merge_bricks, read_map, save_map, save_mesh
from embodmem.spatial.octree.files.octomap_write import binary_stream, bt_file

__all__ = ["MAP_FORMATS", "binary_stream", "bt_file", "load_map", "merge_bricks", "read_map", "save_map", "save_mesh"]
