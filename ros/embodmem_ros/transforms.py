"""The tree of frames in time; it lives in `embodmem.datasets.ros_transforms`, because bags need it, too."""

from embodmem.datasets.ros_transforms import TransformError, TransformTree, interpolate, quat_from_pose

__all__ = ["TransformError", "TransformTree", "interpolate", "quat_from_pose"]
