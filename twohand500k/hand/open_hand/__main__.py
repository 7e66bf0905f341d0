"""``python -m twohand500k.hand.open_hand``: rebuild `open_hand.npz` from its numbers."""

from pathlib import Path

import numpy as np

from twohand500k.hand.open_hand.build import generate

FILE = Path(__file__).parents[1] / "open_hand.npz"


def main() -> None:
    """Generate and write."""
    arrays = generate().arrays
    np.savez_compressed(FILE, **arrays)  # type: ignore[arg-type]
    print(f"{FILE.name}: {FILE.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
