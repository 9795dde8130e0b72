"""Says what TensorBoard itself makes of a run: of each tag the steps and values, and the texts."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
scalars = {tag: [[one.step, one.value] for one in events.Scalars(tag)] for tag in tags["scalars"]}
texts = {
    tag: [[one.step, one.tensor_proto.string_val[0].decode()] for one in events.Tensors(tag)]
    for tag in tags["tensors"]
}
json.dump({"scalars": scalars, "texts": texts}, sys.stdout)
