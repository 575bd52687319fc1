"""Where the 17 labelled objects of the kitchen recording are: ground truth for tests, made without the library.

How it was made. All label classes were looked at in the images, with the boxes drawn in: no image shows more than
four books, three chairs and two mugs at once, and the views together show four books, four chairs, two mugs and one
of each other label. Two places were then found for each object, by two means that share nothing:

`position`: the point nearest to the rays through the centres of all its boxes that the image does not cut off (18 to
138 views), least squares with weights 1 / distance, no depth used. The median distance of the rays to it is 3 to 11
mm, the baseline of the views 0.5 to 2.0 m. This is where the label is.

`picked`: pixels picked by hand on the object in the colour images, put into the world by the median depth of 5x5
pixels, median over the picks. Colour and depth of this recording are off by some pixels, and a pick is on the near
surface: the two places agree within 0.15 m. `frames` are the frames picked in.

One label is not in the middle of its thing. The boxes of the left chair are centred on the near left corner of the
table, 0.5 m from the middle of its seat and 0.7 m from its back. What a detector says is all a memory can know, so
`position` is the place of the label, and `picked` of that object is the corner of the table that the boxes are
centred on; the seat of the chair itself is at (-1.00, 1.67, 0.46), its back at (-1.19, 1.78, 0.79).
"""

from __future__ import annotations

from typing import NamedTuple


class KitchenObject(NamedTuple):
    """One object; metres, world (T_world_scene applied).

    Attributes:
        name: Tells objects of one label apart.
        label: As in detections.json.
        position: Where the rays of its boxes meet.
        picked: Where hand-picked pixels lie.
        size_m: Rough longest edge of what can be seen of it.
        frames: Frames that were picked in.
    """

    name: str
    label: str
    position: tuple[float, float, float]
    picked: tuple[float, float, float]
    size_m: float
    frames: tuple[int, ...]


KITCHEN = (
    KitchenObject("white mug", "mug", (-0.683, 1.762, 0.775), (-0.67, 1.77, 0.78), 0.10, (0, 320, 640, 940, 996)),
    KitchenObject("flowered mug", "mug", (0.300, 1.644, 0.754), (0.28, 1.61, 0.77), 0.10, (320, 400, 940, 996)),
    # The purple book (Mobile) that stands on the counter under the notice board.
    KitchenObject("counter book", "book", (-0.746, 2.999, 1.052), (-0.73, 3.07, 1.04), 0.24, (0, 320, 940, 996)),
    # The purple journal that lies on a black one on the table.
    KitchenObject("table book", "book", (-0.148, 1.428, 0.723), (-0.14, 1.44, 0.73), 0.25, (0, 320, 940)),
    # Two alike on the red shelf, 0.29 m apart: a pink and a blue cover.
    KitchenObject("pink book", "book", (0.317, 3.198, 1.035), (0.40, 3.26, 1.05), 0.25, (320, 860, 940, 996)),
    KitchenObject("blue book", "book", (0.603, 3.196, 1.037), (0.66, 3.21, 1.02), 0.25, (320, 860, 940, 996)),
    # Of the chairs behind the table only the upper part of the back shows.
    KitchenObject("left chair", "chair", (-0.818, 1.246, 0.716), (-0.83, 1.22, 0.72), 0.50, (0, 80)),
    KitchenObject("middle chair", "chair", (-0.429, 2.162, 0.758), (-0.44, 2.18, 0.80), 0.42, (0, 320, 940, 996)),
    KitchenObject("right chair", "chair", (0.537, 2.119, 0.715), (0.64, 2.17, 0.79), 0.42, (320, 400, 940, 996)),
    # At the far right end of the table, seen in a few frames only.
    KitchenObject("end chair", "chair", (1.326, 1.689, 0.731), (1.33, 1.63, 0.69), 0.42, (400,)),
    KitchenObject("faucet", "faucet", (-1.483, 3.358, 1.027), (-1.45, 3.40, 1.00), 0.20, (0, 160, 320, 640, 996)),
    KitchenObject("controller", "game controller", (0.809, 1.399, 0.753), (0.79, 1.40, 0.76), 0.15, (400,)),
    KitchenObject("magazine", "magazine", (-0.466, 1.754, 0.734), (-0.48, 1.79, 0.73), 0.28, (0, 320, 940)),
    KitchenObject("mouse", "mouse", (0.186, 3.142, 0.896), (0.18, 3.14, 0.91), 0.10, (320, 996)),
    KitchenObject("paper", "paper", (-1.583, 3.126, 1.107), (-1.64, 3.17, 1.08), 0.32, (160, 640, 996)),
    KitchenObject("plastic box", "plastic box", (0.607, 1.581, 0.795), (0.60, 1.60, 0.80), 0.32, (320, 400)),
    KitchenObject("radio", "radio", (-2.107, 1.893, 1.073), (-2.11, 1.97, 1.08), 0.22, (160, 640)),
)
