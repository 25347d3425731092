"""The flags of the parts; imports no JAX."""

from cfi_jax.core.cli import CONFIG, Flag

_COMMON = {
  "turns": Flag("measurements of each contender", 15),
  "output": Flag("FILE.json, the table goes beside it (gpu: a folder)"),
  "floor_mb": Flag("size of the arrays that measure the memory bandwidth", kind=float),
  "floor_side": Flag("side of the matrices that measure the arithmetic rate", kind=int),
}
_SETTINGS = {
  "config": CONFIG,
  "batch": Flag("instead of the config's batch_size", kind=int),
  "crop": Flag("instead of the config's input.crop", kind=int),
  "dtype": Flag("instead of the config's model.dtype"),
}
_CONTENDERS = {
  "torch": Flag("with PyTorch beside it", False),
  "contenders": Flag("names with commas, instead of those usual here", kind=list),
  "sequential": Flag(
    "all turns of one, then of the next, as is usual on accelerators; else turn by turn", kind=bool
  ),
  "in_process": Flag("no processes; memory is shared", False),
}
_FUSE = {
  "weights": Flag("weights: a file or a name; of `rule` a rule"),
  "config": CONFIG,
  "study": Flag("what is measured", "compare", valid=("compare", "buckets", "rule", "large")),
  "size": Flag("HEIGHTxWIDTH; 480x640 by default, of `large` 8192x8192"),
  "batch": Flag("pairs fused at once", 1),
  "dtype": Flag("of the computation", "float32", valid=("float32", "bfloat16")),
  "tile_mb": Flag("memory for tiles in `buckets`", 64.0),
  "resident": Flag("from device to device, as is usual on accelerators", kind=bool),
}
_METRICS = {
  "visible": Flag("folder of visible images"),
  "infrared": Flag("folder of infrared images, same names"),
  "images": Flag("at most so many pairs of the folders", 42),
  "size": Flag("HEIGHTxWIDTH of generated triplets", "480x640"),
  "count": Flag("generated triplets; 4 on a CPU, else 64", kind=int),
  "metrics": Flag("names with commas; all but those with FMI_w by default", kind=list),
  "fmi_crop": Flag("crops of the public loop of FMI", 24),
  "fmi_check": Flag("crop that checks extrapolation", 96),
}
_INPUT = {
  "pairs": Flag("so many generated files instead of the data set", kind=int),
  "size": Flag("HEIGHTxWIDTH of generated files", "480x640"),
  "steps": Flag("steps of each loop", 20),
  "paths": Flag("ways of feeding, with commas", ["host", "device"]),
}
_GPU = {
  "weights": Flag("weights (file or name) that fuse", "medical"),
  "seconds": Flag("for all rows; what would not end in time is left out", 480.0),
  "rehearse": Flag("tiny sizes and few turns, on a CPU", False),
  "commit": Flag("commit the output folder at the end", False),
}
_COMPILE = {
  "output": _COMMON["output"],
  **_SETTINGS,
  "batch": Flag("on every chip, instead of the config's batch_size", kind=int),
  "chip": Flag("chips to compile for, with commas", ["v5e"]),
  "chips": Flag("how many of them share the work, with commas", ["1"]),
  "program": Flag("the training step, fusing, or both", "train", valid=("train", "fuse", "both")),
  "size": Flag("HEIGHTxWIDTH of pairs to fuse", "480x640"),
  "effort": Flag(
    "of the compiler, -1 to 1; at 0, the default of JAX, it takes ten times as long", -1.0
  ),
}
_ALIGN = {
  "output": _COMMON["output"],
  "roadscene": Flag("RoadScene's folder", required=True),
  "tno": Flag("TNO's folder"),
  "msrs": Flag("folder of MSRS's vi and ir"),
  "medical": Flag("folder of CT and MRI"),
  "seed": Flag("draws pictures and homographies", 2026),
  "cases": Flag("cases with commas; all by default", kind=list),
  "count": Flag("at most so many pairs or rigs of each case", kind=int),
}
_SEQUENCE = {
  "output": _COMMON["output"],
  "frames": Flag("lengths of the recordings, with commas", ["500", "10000"]),
  "size": Flag("HEIGHTxWIDTH of the frames", "48x64"),
  "weights": Flag("weights or a rule that fuse", "average"),
}
PARTS = {
  "train": _COMMON | _SETTINGS | _CONTENDERS,
  "fuse": _COMMON | _FUSE | _CONTENDERS,
  "metrics": _COMMON | _METRICS,
  "input": _COMMON | _SETTINGS | _INPUT,
  "gpu": _COMMON | _GPU,
  "compile": _COMPILE,
  "align": _ALIGN,
  "sequence": _SEQUENCE,
}
