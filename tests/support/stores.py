"""Reading search stores (DESIGN section 7) with h5py, and comparing two of them bit for bit."""
import h5py
import numpy as np

# What a resumed or differently threaded run may change.
VOLATILE = ("elapsed", "created_utc", "command_line")

STAGE_DATASETS = ("id", "generation", "origin", "parents", "factors", "start_tokens", "attention_factor", "nll_nats", "tokens",
                  "objectives", "status", "cost", "elapsed_s")


def volatile(name):
    return any(part in name.rsplit("/", 1)[-1].rsplit("@", 1)[-1] for part in VOLATILE)


def _value(array):
    array = np.asarray(array)
    if array.dtype.kind == "O":
        return tuple(x if isinstance(x, (str, bytes)) else np.asarray(x).tobytes() for x in array.ravel().tolist())
    return array.tobytes()


def contents(path):
    """name -> (kind, type, shape, bits) of every group, dataset and attribute that must not depend on time or threads."""
    out = {}

    def attributes(name, node):
        for key in node.attrs:
            full = f"{name}@{key}"
            if volatile(full) or key in ("DIMENSION_LIST", "REFERENCE_LIST"):  # object addresses
                continue
            value = node.attrs[key]
            out[full] = ("attribute", str(getattr(value, "dtype", type(value).__name__)), np.shape(value), _value(value))

    with h5py.File(path, "r") as f:
        attributes("/", f)

        def visit(name, node):
            name = "/" + name
            if isinstance(node, h5py.Dataset):
                if not volatile(name):
                    out[name] = ("dataset", str(node.dtype), node.shape, _value(node[()]))
            else:
                out[name] = ("group", "", (), b"")
            attributes(name, node)
        f.visititems(visit)
    return out


def differences(a, b):
    """Names that differ between two `contents`, with a short reason each."""
    out = []
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            out.append(f"{name}: only in the {'first' if name in a else 'second'}")
        elif a[name] != b[name]:
            what = "bits" if a[name][:3] == b[name][:3] else f"{a[name][:3]} against {b[name][:3]}"
            if a[name][0] == "attribute" and what == "bits":
                what = f"{a[name][3]!r} against {b[name][3]!r}"
            out.append(f"{name}: {what[:300]}")
    return out


def stage(f):
    """The one stage group of an open store."""
    stages = list(f["stages"].values())
    if len(stages) != 1:
        raise ValueError(f"{f.filename}: {len(stages)} stages")
    return stages[0]


def rows(path):
    with h5py.File(path, "r") as f:
        return len(stage(f)["evaluations/id"])


def statuses(path):
    """The names of all rows' statuses."""
    with h5py.File(path, "r") as f:
        dataset = stage(f)["evaluations/status"]
        names = {value: name for name, value in h5py.check_enum_dtype(dataset.dtype).items()}
        return [names[value] for value in dataset[()].tolist()]


def status(path):
    """The stage's status attribute, as text."""
    with h5py.File(path, "r") as f:
        value = stage(f).attrs["status"]
        return value.decode() if isinstance(value, bytes) else str(value)
