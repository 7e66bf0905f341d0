"""Datasets read for training, refused where they cannot be trained on, and the batches of a run."""

import shutil
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mano_fixture import random_pair  # noqa: E402
from prior_fixture import layer, random_pairs, small_dataset  # noqa: E402
from shards_fixture import synthetic_hands  # noqa: E402

from interaction_prior.data import (  # noqa: E402
    Batches,
    Draw,
    ResidentRows,
    StreamedRows,
    augmented,
    read_pairs,
)
from interaction_prior.representations import (  # noqa: E402
    Normalisation,
    Representation,
    fit_normalisation,
)
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.shards import Dataset  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


# Datasets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("pairs") / "set")


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def _shard(folder: Path) -> h5py.File:
    return h5py.File(sorted(folder.glob("shard-*.h5"))[0], "r+")


def _split_of(folder: Path) -> str:
    return str(Dataset(folder).array("split")[0])


def test_pairs_are_the_datasets_hands(dataset: Path) -> None:
    hands = synthetic_hands()
    pairs = read_pairs([dataset], hands, "all")
    stored = Dataset(dataset)
    assert pairs.sample_id.tolist() == stored.array("sample_id").tolist()
    np.testing.assert_array_equal(pairs.pose, stored.array("pose"))
    wrists = [
        hands[s].with_shape(pairs.betas[:, s]).rest_joints[:, 0] + stored.array("transl")[:, s]
        for s in (0, 1)
    ]
    np.testing.assert_allclose(pairs.place, wrists[1] - wrists[0], atol=1e-6)


def test_two_datasets_are_read_one_after_the_other(dataset: Path, copy: Path) -> None:
    one = read_pairs([dataset], synthetic_hands(), "all")
    two = read_pairs([dataset, copy], synthetic_hands(), "all")
    assert len(two) == 2 * len(one)
    assert np.bincount(two.dataset).tolist() == [len(one), len(one)]
    assert two.select(two.dataset == 0).sha256() == one.sha256()
    assert two.sha256() != one.sha256()


def test_the_hash_follows_every_number(dataset: Path) -> None:
    pairs = read_pairs([dataset], synthetic_hands(), "all")
    before = pairs.sha256()
    pairs.place[3, 1] = np.nextafter(pairs.place[3, 1], 1)
    assert pairs.sha256() != before


def test_numbers_that_are_not_finite_are_refused(copy: Path) -> None:
    with _shard(copy) as shard:
        shard["mano/pose"][4, 1, 3, 2] = np.nan
        first = shard["sample_id"][4].decode()
    with pytest.raises(DataError, match="1 samples hold numbers that are not finite") as caught:
        read_pairs([copy], synthetic_hands(), "all")
    assert first in str(caught.value) and "twohand verify" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrist_that_is_not_known_is_refused(copy: Path) -> None:
    with _shard(copy) as shard:
        shard["joints"][0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        read_pairs([copy], synthetic_hands(), "all")


def test_another_hand_model_is_refused(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"on another hand model .*twohand hand convert"):
        read_pairs([dataset], random_pair(), "all")


def test_another_format_is_refused(copy: Path) -> None:
    index = copy / "index.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(DataError, match="99"):
        read_pairs([copy], synthetic_hands(), "all")


def test_an_empty_split_is_refused_and_says_what_is_there(dataset: Path) -> None:
    there = _split_of(dataset)
    missing = next(s for s in ("train", "val", "test") if s != there)
    with pytest.raises(DataError, match=f"no sample in split '{missing}': it has .* {there}"):
        read_pairs([dataset], synthetic_hands(), missing)  # type: ignore[arg-type]


def test_single_hands_are_no_interactions(copy: Path) -> None:
    with _shard(copy) as shard:
        shard["present"][:5, 1] = False
    n = len(Dataset(copy))
    assert len(read_pairs([copy], synthetic_hands(), "all")) == n - 5
    for path in copy.glob("shard-*.h5"):
        with h5py.File(path, "r+") as shard:
            shard["present"][:, 1] = False
    with pytest.raises(DataError, match=r"single hands, no interaction: `twohand splice"):
        read_pairs([copy], synthetic_hands(), "all")


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.json"):
        read_pairs([tmp_path], synthetic_hands(), "all")


# Batches

REPRESENTATION = Representation("mano", "6d", with_translation=True)


def _rows(n: int = 100) -> torch.Tensor:
    return REPRESENTATION.vectors(layer(), *random_pairs(n)).float()


def _raw(dim: int = REPRESENTATION.dim) -> Normalisation:
    return Normalisation(torch.zeros(dim), torch.ones(dim))


def _batches(rows, draw: Draw, **options) -> Batches:  # type: ignore[no-untyped-def]
    return Batches(rows, REPRESENTATION, _raw(), draw, device=CPU, **options)


def _steps(batches: Batches, first: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, noise = zip(*islice(batches.from_step(first), n), strict=True)
    return torch.stack(x), torch.stack(noise)


DRAW = Draw(batch=512, latents=8, seed=3)
PLAIN = Draw(batch=20, latents=8, seed=3, rotation="none", swap=False)


@pytest.mark.parametrize("first", [1, 3, 4, 7, 9])
def test_a_batch_is_a_function_of_its_step_alone(first: int) -> None:
    x, noise = _steps(_batches(ResidentRows(_rows()), DRAW), 0, 12)
    later_x, later_noise = _steps(_batches(ResidentRows(_rows()), DRAW), first, 12 - first)
    assert torch.equal(x[first:], later_x) and torch.equal(noise[first:], later_noise)
    # And of the seed.
    other, _ = _steps(_batches(ResidentRows(_rows()), Draw(512, 8, seed=4)), 0, 1)
    assert not torch.equal(other[0], x[0])
    assert not torch.equal(x[0], x[1])


def test_every_row_comes_once_an_epoch_in_a_new_order() -> None:
    x = torch.arange(100.0)[:, None].expand(100, REPRESENTATION.dim).contiguous()
    seen, _ = _steps(_batches(ResidentRows(x), PLAIN), 0, 15)
    epochs = seen[..., 0].reshape(3, 100)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(100))
    assert not torch.equal(epochs[0], epochs[1])


def test_epochs_need_not_divide_into_batches() -> None:
    x = torch.arange(37.0)[:, None].expand(37, REPRESENTATION.dim).contiguous()
    seen, _ = _steps(_batches(ResidentRows(x), PLAIN), 0, 37)
    for epoch in seen[..., 0].reshape(20, 37):
        assert sorted(epoch.tolist()) == list(range(37))
    # A set smaller than a batch comes by several times in one.
    seen, _ = _steps(_batches(ResidentRows(x[:7]), PLAIN), 0, 7)
    assert torch.bincount(seen[..., 0].flatten().long()).tolist() == [20] * 7


def test_weights_are_frequencies() -> None:
    x = torch.arange(4.0)[:, None].expand(4, REPRESENTATION.dim).contiguous()
    weights = torch.tensor([1.0, 2.0, 0.0, 5.0])
    seen, _ = _steps(_batches(ResidentRows(x), PLAIN, weights=weights), 0, 2000)
    share = torch.bincount(seen[..., 0].flatten().long(), minlength=4) / seen[..., 0].numel()
    torch.testing.assert_close(share, weights / 8, atol=0.01, rtol=0)
    assert share[2] == 0


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_together_see_the_joint_batch(processes: int) -> None:
    joint_x, joint_noise = _steps(_batches(ResidentRows(_rows()), DRAW), 2, 5)
    parts = [
        _steps(_batches(ResidentRows(_rows()), DRAW, rank=r, processes=processes), 2, 5)
        for r in range(processes)
    ]
    assert torch.equal(torch.cat([x for x, _ in parts], dim=1), joint_x)
    assert torch.equal(torch.cat([noise for _, noise in parts], dim=1), joint_noise)
    with pytest.raises(ValueError, match="does not divide among 3"):
        _batches(ResidentRows(_rows()), DRAW, processes=3)


def test_streamed_rows_are_the_resident_ones(tmp_path: Path) -> None:
    x = _rows()
    streamed = StreamedRows(iter(x.split(17)), len(x), x.shape[1], CPU, tmp_path)
    assert not list(tmp_path.iterdir()), "the file is unlinked at once"
    for first in (0, 6):
        a = _steps(_batches(ResidentRows(x), DRAW), first, 9)
        b = _steps(_batches(streamed, DRAW), first, 9)
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    with pytest.raises(ValueError, match="34 rows came for a set of 40"):
        StreamedRows(iter(x[:34].split(17)), 40, x.shape[1], CPU, tmp_path)


def _apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Distances (n, m); in double, for `cdist` multiplies matrices and loses half the digits."""
    return torch.cdist(a.double(), b.double())


def test_without_rotation_and_swap_rows_come_as_they_are() -> None:
    x = _rows()
    seen, noise = _steps(_batches(ResidentRows(x), PLAIN), 0, 5)
    ordered = {tuple(row.tolist()) for row in seen.flatten(0, 1)}
    assert ordered == {tuple(row.tolist()) for row in x}
    assert noise.shape == (5, 20, 8)


def test_swapped_rows_are_mirrored_half_of_the_time() -> None:
    x = _rows()
    draw = Draw(batch=100, latents=8, seed=3, rotation="none", swap=True)
    seen, _ = _steps(_batches(ResidentRows(x), draw), 0, 20)
    seen = seen.flatten(0, 1)
    as_it_is = _apart(seen, x).min(1).values < 1e-5
    mirrored = _apart(seen, REPRESENTATION.mirrored(x)).min(1).values < 1e-5
    assert torch.equal(as_it_is, ~mirrored)
    assert 0.45 < mirrored.float().mean() < 0.55


def test_rotation_turns_whole_pairs_and_nothing_else() -> None:
    x = _rows(30)
    draw = Draw(batch=30, latents=8, seed=3, rotation="uniform", swap=False)
    seen, _ = _steps(_batches(ResidentRows(x), draw), 0, 4)

    def invariants(x: torch.Tensor) -> torch.Tensor:
        """What no rotation of the pair changes: fingers, shapes, how one wrist sees the other."""
        _, fingers, betas, place = REPRESENTATION.split(x)
        R, _ = REPRESENTATION.rotations(x)
        relative = R[..., 0, 0, :, :].mT @ R[..., 1, 0, :, :]
        seen_place = (R[..., 0, 0, :, :].mT @ place[..., None])[..., 0]
        return torch.cat([fingers, betas, relative.flatten(-2), seen_place], dim=-1)

    for epoch in seen:
        distance = _apart(invariants(epoch), invariants(x))
        assert distance.min(1).values.max() < 1e-4
        assert sorted(distance.argmin(1).tolist()) == list(range(30))
    assert (seen[0][:, :12] - x[:, :12]).abs().max() > 0.1


def test_batches_are_normalised_and_augmented_as_a_whole_set_is() -> None:
    x = _rows(400)
    draw = Draw(batch=400, latents=8, seed=3)
    again = augmented(x, REPRESENTATION, draw, 0)
    assert torch.equal(again, augmented(x, REPRESENTATION, draw, 0))
    assert not torch.equal(again, augmented(x, REPRESENTATION, draw, 1))
    norm = fit_normalisation("block", REPRESENTATION, again)
    batches = Batches(ResidentRows(x), REPRESENTATION, norm, draw, device=CPU)
    seen, noise = _steps(batches, 0, 5)
    assert abs(seen.square().mean() - 1) < 0.05 and seen.mean().abs() < 0.02
    assert abs(noise.std() - 1) < 0.03
