"""``python -m twohand500k.hand.open_hand [--check]``: rebuild `open_hand.npz`, or compare with it.

--check writes nothing and exits with 1 where a fresh build differs from the file by more than the
last digit kept.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from twohand500k.hand.load import load_model
from twohand500k.hand.open_hand.build import generate

FILE = Path(__file__).parents[1] / "open_hand.npz"


def main() -> int:
    """Generate, then write or compare."""
    parser = argparse.ArgumentParser(prog="python -m twohand500k.hand.open_hand")
    parser.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    check = parser.parse_args().check
    fresh = generate()
    if not check:
        fresh.save(FILE)
        print(f"{FILE.name}: {FILE.stat().st_size / 1024:.0f} KB")
        return 0
    worst = 0.0
    kept = load_model(FILE, "right").mano_arrays()
    for key, array in fresh.mano_arrays().items():
        if array.dtype.kind in "fiu":
            difference = float(np.abs(array - np.asarray(kept[key], dtype=array.dtype)).max())
            print(f"{key:<18} largest difference {difference:.1e}")
            worst = max(worst, difference)
    return int(worst > 1e-7)


if __name__ == "__main__":
    sys.exit(main())
