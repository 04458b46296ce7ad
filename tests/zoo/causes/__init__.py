"""What the diagnosis must find in each wrong port of the zoo: the ids of the catalogue, by "case:port".

``"same-padding"``: every layer at fault has a confirmed cause, all of them are of this id, and the whole model is
repaired. Several ids parted by blanks: all of them are named, and no other. ``"?gru-reset-after"``: named, and not
confirmed, because nothing that torch has undoes it. ``"-"``: nothing explains it, and the report says so.
"""

from tests.zoo.causes import attention, faulty, geometry, graph, weights

CAUSES: dict[str, str] = {**attention.CAUSES, **weights.CAUSES, **geometry.CAUSES, **graph.CAUSES, **faulty.CAUSES}
