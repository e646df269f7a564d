"""The real files that $FLIPBENCH_DATA holds: counts, classes, splits, hashes; skipped where there are none."""

import hashlib
import shutil

import pytest
import torch

from flipbench import data
from flipbench.data import idx, locations, splits
from flipbench.data.readers import ham10000, ham10000_metadata, idx_sets
from flipbench.errors import UserError


@pytest.fixture
def real(real_data, monkeypatch, tmp_path):
    monkeypatch.setenv("FLIPBENCH_DATA", str(real_data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return real_data


def says(function, *args):
    with pytest.raises(UserError) as caught:
        function(*args)
    return str(caught.value)


def test_real_mnist(real):
    d = data.load("mnist(train=6000)")
    assert (d.shape, len(d.train_y), len(d.test_y), d.notes) == ((1, 28, 28), 6000, 10_000, ())
    assert d.counts[0] == (592, 980)
    assert data.content_hash("mnist") == d.sha256
    known = data.load("mnist5k")
    whole = {x.numpy().tobytes() for x in data.load("mnist").train_x}
    assert all(x.numpy().tobytes() in whole for x in known.test_x), "MNIST-5k is not of MNIST's training set"


def test_real_fashion_mnist(real):
    d = data.load("fashion_mnist")
    assert d.counts == ((6000, 1000),) * 10
    assert d.notes == ()
    assert "holds mnist, not fashion_mnist" in says(data.load, f"fashion_mnist(path='{real}/mnist')")
    assert "holds fashion_mnist, not mnist" in says(data.load, f"mnist(path='{real}/fashion-mnist')")


def test_the_checksums_of_downloads_are_those_of_the_release(real):
    # The packed bytes at hand are the published ones for Fashion-MNIST only; MNIST's were packed again.
    for part, md5 in zip(idx.PARTS, idx_sets.FASHION_MNIST.md5, strict=True):
        assert hashlib.md5((real / "fashion-mnist" / f"{part}.gz").read_bytes()).hexdigest() == md5


def test_real_ham10000_is_split_by_lesion(real):
    d = data.load("ham10000")
    assert (d.shape, d.split) == ((1, 28, 28), "lesion")
    assert tuple(a + b for a, b in d.counts) == ham10000.COUNTS
    assert all(abs(b / (a + b) - 0.2) < 0.01 for a, b in d.counts)
    assert data.content_hash("ham10000") == d.sha256 != data.load("ham10000(split=row)").sha256
    rows = ham10000_metadata.read(real / "ham10000/HAM10000_metadata.csv")
    assert len({r.lesion for r in rows}) == 7470
    table = torch.tensor([ham10000.CLASSES.index(r.diagnosis) for r in rows])
    train, test = splits.held_out_groups(table, [r.lesion for r in rows], 0.2, "ham10000 split by lesion")
    assert not {rows[i].lesion for i in train} & {rows[i].lesion for i in test}
    assert torch.equal(table[test], d.test_y)
    assert any("not byte for byte Kaggle's" in n for n in d.notes) or len(d.notes) == 0


def test_settings_can_be_chosen_on_ham10000_without_its_test_images(real):
    d, v = data.load("ham10000"), data.load("ham10000(validation=true)")
    rows = ham10000_metadata.read(real / "ham10000/HAM10000_metadata.csv")
    table = torch.tensor([ham10000.CLASSES.index(r.diagnosis) for r in rows])
    train, _ = splits.held_out_groups(table, [r.lesion for r in rows], 0.2, "ham10000 split by lesion")
    names = [rows[i].lesion for i in train]
    kept, tried = splits.held_out_groups(table[train], names, 0.2, "ham10000 validation split by lesion")
    assert sorted([*kept.tolist(), *tried.tolist()]) == list(range(len(d.train_y)))
    assert torch.equal(v.train_x, d.train_x[kept])
    assert torch.equal(v.test_x, d.train_x[tried])
    assert not {names[i] for i in kept} & {names[i] for i in tried}
    assert all(abs(b / (a + b) - 0.2) < 0.01 for a, b in v.counts)
    assert v.split == "lesion"
    assert any("test images are left out" in n for n in v.notes)


def test_real_ham10000_without_metadata_is_split_by_row_and_says_so(real, tmp_path):
    (tmp_path / "anything.csv").symlink_to(real / "ham10000/hmnist_28_28_L.csv")
    d = data.load(f"ham10000(path='{tmp_path}')")
    assert d.split == "row"
    assert any("no metadata: split by row" in n for n in d.notes)
    whole = torch.tensor(d.counts).sum(1)
    assert whole.tolist() == list(ham10000.COUNTS)
    assert "needs HAM10000_metadata.csv beside" in says(data.load, f"ham10000(path='{tmp_path}', split=lesion)")
    named = f"ham10000(path='{tmp_path}', metadata='{real}/ham10000/HAM10000_metadata.csv')"
    assert data.load(named).sha256 == data.content_hash("ham10000")


def test_a_parsed_table_is_cached_and_a_torn_cache_costs_only_time(real):
    first = ham10000.load(split="row")
    (cached,) = (locations.cache() / "parsed").iterdir()
    content = cached.read_bytes()
    for torn in (b"", content[: len(content) // 2], content[:5000] + b"\xff" + content[5001:]):
        cached.write_bytes(torn)
        again = ham10000.load(split="row")
        assert torch.equal(again.train_x, first.train_x)
        assert cached.read_bytes() == content
    shutil.rmtree(locations.cache())
    locations.cache().write_text("a file where the folder should be")
    assert torch.equal(ham10000.load(split="row").test_x, first.test_x)
