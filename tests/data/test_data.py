"""Data sets by name: the embedded ones, splits, hashes, lookup order, downloads, descriptions."""

import gzip
import hashlib
import http.server
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flipbench import data
from flipbench.data import downloads, file_bytes, idx, locations, packaged, splits
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.readers import idx_sets
from flipbench.errors import UserError
from flipbench.spec.cell import Cell
from tests.helpers.paths import ROOT


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    """No cache and no system folder of the machine that runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(locations, "SYSTEM", (tmp_path / "system",))


@pytest.fixture
def without_variable(monkeypatch):
    monkeypatch.delenv("FLIPBENCH_DATA", raising=False)


def says(function, *args, **options):
    with pytest.raises(UserError) as caught:
        function(*args, **options)
    return str(caught.value)


def idx_bytes(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.numpy().tobytes()


def write_idx(folder: Path, train=30, test=20, packed=False, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    g = torch.Generator().manual_seed(seed)
    for kind, n in (("train", train), ("t10k", test)):
        x = torch.randint(256, (n, 28, 28), generator=g).to(torch.uint8)
        y = (torch.arange(n) % 10).to(torch.uint8)
        for name, array in ((f"{kind}-images-idx3-ubyte", x), (f"{kind}-labels-idx1-ubyte", y)):
            content = idx_bytes(array)
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content, mtime=seed) if packed else content)
    return folder


# --- embedded data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "levels", "train", "test"),
    [("mnist5k", (1, 28, 28), 255, 4000, 1000), ("digits", (1, 8, 8), 16, 1437, 360)],
)
def test_embedded_data(name, shape, levels, train, test):
    d = data.load(name)
    assert (d.shape, d.levels, len(d.train_y), len(d.test_y)) == (shape, levels, train, test)
    assert (d.split, d.classes) == ("stratified", tuple("0123456789"))
    assert int(d.train_x.max()) == levels
    assert data.content_hash(name) == d.sha256
    rows = {x.numpy().tobytes() for x in d.train_x}
    assert not rows & {x.numpy().tobytes() for x in d.test_x}, "an image is on both sides"
    shares = torch.tensor(d.counts).double()
    assert torch.allclose(shares[:, 1] / shares.sum(1), torch.tensor(test / (train + test)).double(), atol=0.01)


def test_the_split_of_mnist5k_is_fixed():
    d = data.load("mnist5k")
    assert d.counts == ((400, 100),) * 10
    # A change here changes every result on the default data: raise flipbench.spec.key.SCHEMA with it.
    assert hashlib.sha256(d.test_x.numpy().tobytes()).hexdigest()[:16] == "4c51230469642f93"


def test_digits_are_the_table_in_scikit_learn():
    d = data.load("digits")
    table = np.loadtxt(d.sources[0], delimiter=",")
    x, y = torch.cat([d.train_x, d.test_x]), torch.cat([d.train_y, d.test_y])
    ours = sorted((*image.flatten().tolist(), int(label)) for image, label in zip(x, y, strict=True))
    assert ours == sorted(tuple(map(int, row)) for row in table)


def test_an_embedded_file_of_another_content_is_refused(monkeypatch):
    monkeypatch.setattr("flipbench.data.packaged.DIGITS", replace(packaged.DIGITS, sha256="0" * 64))
    text = says(data.DATASETS["digits"])
    assert "not the file that flipbench knows" in text
    assert "constraints.txt" in text


# --- subsets and splits ----------------------------------------------------------------------------------------------


def test_a_subset_keeps_the_shares_of_the_classes_and_the_rows_order():
    whole, part = data.load("mnist5k"), data.load("mnist5k(train=1000, test=50)")
    assert part.counts == ((100, 5),) * 10
    assert part.sha256 == whole.sha256
    position = {x.numpy().tobytes(): i for i, x in enumerate(whole.train_x)}
    rows = [position[x.numpy().tobytes()] for x in part.train_x]
    assert rows == sorted(set(rows))
    assert torch.equal(whole.train_y[rows], part.train_y)


@pytest.mark.parametrize("ref", ["digits(train=0)", "digits(train=-1)", "digits(test=361)"])
def test_a_subset_of_an_impossible_size_is_refused(ref):
    assert "give a number from 1 to" in says(data.load, ref)


def test_shares_are_whole_and_add_up():
    assert splits.apportion(torch.tensor([50, 0, 33, 17]), 7) == [4, 0, 2, 1]  # 3.5, 2.31 and 1.19: largest remainder
    for size in range(0, 101):
        shares = splits.apportion(torch.tensor([50, 0, 33, 17]), size)
        assert sum(shares) == size
        assert all(0 <= s <= n for s, n in zip(shares, (50, 0, 33, 17), strict=True))
        assert all(abs(s - n * size / 100) < 1 for s, n in zip(shares, (50, 0, 33, 17), strict=True))


def test_groups_stay_together_and_classes_keep_their_shares():
    g = torch.Generator().manual_seed(0)
    groups = [f"g{int(i)}" for i in torch.randint(400, (1500,), generator=g)]
    labels = torch.tensor([int(name[1:]) % 3 for name in groups])
    train, test = splits.held_out_groups(labels, groups, 0.2, "a test")
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(1500))
    assert not {groups[i] for i in train} & {groups[i] for i in test}
    share = torch.bincount(labels[test]) / torch.bincount(labels)
    assert torch.allclose(share, torch.tensor(0.2), atol=0.02)


def test_a_data_set_checks_itself():
    x, y = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    good = Dataset("mine", ("a", "b"), x, y, x, y, "official")
    assert len(good.sha256) == 64
    assert good.sha256 == Dataset("mine", ("a", "b"), x, y, x, y, "row").sha256
    assert good.sha256 != Dataset("mine", ("a", "b"), x, 1 - y, x, y, "row").sha256
    for changes, said in (
        ({"train_x": x.float()}, "its training side holds features, its test side images"),
        ({"train_x": x[:, 0]}, "uint8 tensor (n, channels, height, width)"),
        ({"test_y": y.float()}, "int64 tensor (4,)"),
        ({"train_y": y[:3]}, "int64 tensor (4,)"),
        ({"train_y": y + 1}, "labels run from 1 to 2, but there are 2 classes"),
        ({"test_x": x[:0], "test_y": y[:0]}, "no example"),
        ({"test_x": torch.zeros(4, 3, 2, 2, dtype=torch.uint8)}, "training images of shape (1, 2, 2)"),
        ({"train_x": x + 17, "levels": 16}, "a pixel is 17, above levels=16"),
        ({"split": "mine"}, "split is 'mine'"),
    ):
        assert said in says(replace, good, **changes)
    assert shortened(good, None, None) is good


# --- names, options, plug-ins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("mnst", "unknown data set 'mnst' - did you mean 'mnist'?"),
        ("mnist(trian=5)", "unknown option 'trian' - did you mean 'train'?"),
        ("mnist(train=half)", "option train"),
        ("mnist5k(path=x)", "unknown option 'path'"),
        ("ham10000(split=leson)", "'lesion'"),
    ],
)
def test_unknown_names_and_options(ref, said):
    for function in (data.load, data.content_hash, data.describe):
        assert said in says(function, ref)


def test_classes_are_known_without_data(without_variable):
    of_files = {"npz", "csv", "images", "hf", "torchvision"}  # whose files alone tell
    assert {name for name in data.DATASETS if data.class_names(name) is None} == of_files
    assert data.class_names("ham10000") == ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")
    assert (data.class_names("fashion_mnist") or ())[0::9] == ("T-shirt/top", "Ankle boot")
    assert data.class_names(Cell().dataset) is not None


PLUGIN = """
import torch
from flipbench.data.dataset import Dataset

def squares(*, size: int = 4):
    x = torch.arange(8 * size * size).remainder(256).to(torch.uint8).view(8, 1, size, size)
    y = torch.arange(8) % 2
    return Dataset("squares", ("even", "odd"), x, y, x, y, "official")

def nothing():
    return 3
"""


def test_a_loose_file_offers_a_data_set(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    d = data.load(f"{file}:squares(size=6)")
    assert d.shape == (1, 6, 6)
    assert data.content_hash(f"{file}:squares(size=6)") == d.sha256 != data.content_hash(f"{file}:squares")
    assert "even" in str(data.describe(f"{file}:squares"))
    assert "nothing returned an int: a loader returns a flipbench.Dataset" in says(data.load, f"{file}:nothing")


def test_the_example_in_the_docs_works(tmp_path):
    page = ROOT / "docs/data.md"
    (tmp_path / "shapes.py").write_text(
        "import torch\n" + page.read_text(encoding="utf-8").split("```python\nimport torch\n")[1].split("```")[0]
    )
    d = data.load(f"{tmp_path / 'shapes.py'}:squares(size=6)")
    assert (d.shape, d.counts) == ((1, 6, 6), ((100, 100), (100, 100)))


def test_a_description_says_all_that_was_found():
    found = data.describe("digits(test=50)")
    assert found.sha256 == data.content_hash("digits")
    lines = str(found).splitlines()
    assert lines[0] == "digits(test=50)"
    assert "8 x 8, 1 channel, levels 0 to 16" in lines[1]
    assert "stratified" in lines[2]
    assert lines[-1].split() == ["all", "1,437", "50"]
    assert len({len(line) for line in lines[-12:]}) == 1, "the columns of the table are not aligned"


# --- the order of places ---------------------------------------------------------------------------------------------


def test_the_first_place_that_holds_the_files_counts(tmp_path, monkeypatch):
    system, cached, named, given = (
        tmp_path / "system/mnist",
        locations.cache() / "mnist",
        tmp_path / "env/mnist",
        tmp_path / "given",
    )
    monkeypatch.setenv("FLIPBENCH_DATA", str(tmp_path / "env"))
    for seed, folder in enumerate((system, cached, named), start=1):
        write_idx(folder, seed=seed)
        assert data.load("mnist").sources[0].startswith(str(folder))
    write_idx(given, seed=9)
    assert data.load(f"mnist(path='{given}')").sources[0].startswith(str(given))
    assert data.content_hash("mnist") == data.load("mnist").sha256 != data.content_hash(f"mnist(path='{given}')")


def test_an_error_lists_the_places_and_the_ways(tmp_path, monkeypatch, without_variable):
    text = says(data.load, "mnist")
    assert str(locations.cache() / "mnist") in text
    assert str(tmp_path / "system/mnist") in text
    assert "$FLIPBENCH_DATA is not set" in text
    assert "flipbench data mnist --download" in text
    assert "apt install dataset-fashion-mnist" in says(data.load, "fashion_mnist")
    text = says(data.load, "ham10000", download=True)
    assert "Kaggle" in text
    assert "ham10000(path='/some/hmnist_28_28_L.csv')" in text
    monkeypatch.setenv("FLIPBENCH_DATA", str(tmp_path / "nowhere"))
    assert f"{tmp_path / 'nowhere/mnist'} (no such folder)" in says(data.content_hash, "mnist")


def test_a_broken_place_is_never_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("FLIPBENCH_DATA", str(tmp_path / "env"))
    write_idx(tmp_path / "system/mnist")
    folder = write_idx(tmp_path / "env/mnist")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    text = says(data.load, "mnist")
    assert "holds 3 of the 4 files of mnist; it lacks t10k-labels-idx1-ubyte" in text
    assert "holds 3 of the 4" in says(data.load, "mnist", download=True)
    bad = tmp_path / "env/ham10000"
    bad.mkdir()
    (bad / "hmnist_28_28_L.csv").write_text("a,b\n")
    assert "column 1 is 'a', not pixel0000" in says(data.load, "ham10000")


def test_a_path_that_leads_nowhere_is_an_error_not_a_wish(tmp_path):
    write_idx(tmp_path / "system/mnist")
    assert "does not exist" in says(data.load, f"mnist(path='{tmp_path}/no')")
    assert "does not hold mnist" in says(data.load, f"mnist(path='{tmp_path}')")
    assert "holds no CSV with the header" in says(data.load, f"ham10000(path='{tmp_path}')")


@pytest.mark.parametrize("inside", ["", "mnist", "MNIST/raw"])
def test_a_path_may_be_the_folder_or_hold_it_or_name_a_file(tmp_path, inside):
    folder = write_idx(tmp_path / "d" / inside, packed=True)
    for path in (tmp_path / "d", folder / "t10k-labels-idx1-ubyte.gz"):
        assert data.load(f"mnist(path='{path}')").shape == (1, 28, 28)


# --- IDX -------------------------------------------------------------------------------------------------------------


def test_packed_or_plain_is_the_same_data_and_the_same_hash(tmp_path):
    plain, packed = write_idx(tmp_path / "a"), write_idx(tmp_path / "b", packed=True)
    one, two = (data.load(f"mnist(path='{p}')") for p in (plain, packed))
    assert one.sha256 == two.sha256
    assert torch.equal(one.train_x, two.train_x)
    assert one.split == "files"
    assert one.notes == ("the files are not those of the mnist release",)
    assert torch.equal(one.train_y, torch.arange(30) % 10)


def test_one_release_is_not_taken_for_the_other(tmp_path, monkeypatch):
    folder = write_idx(tmp_path / "a")
    for part in idx.PARTS:  # each of the four alone
        with monkeypatch.context() as patch:
            patch.setitem(idx._RELEASES, file_bytes.digest(folder / part), ("fashion_mnist", part))
            for read in (data.load, data.content_hash):
                assert f"{part} holds fashion_mnist, not mnist" in says(read, f"mnist(path='{folder}')")


def test_a_file_under_the_name_of_another_part_is_refused(tmp_path, monkeypatch):
    folder = write_idx(tmp_path / "a")
    train, test = idx.PARTS[1], idx.PARTS[3]
    monkeypatch.setitem(idx._RELEASES, file_bytes.digest(folder / train), ("mnist", test))
    assert f"{train} holds the content of {test} of mnist" in says(data.load, f"mnist(path='{folder}')")


def test_a_note_names_the_files_that_are_not_of_the_release(tmp_path, monkeypatch):
    folder = write_idx(tmp_path / "a")
    official = (*(file_bytes.digest(folder / p) for p in idx.PARTS[:3]), "another")
    ours = idx.Spec("few", "few", "few", tuple("0123456789"), "", official)
    found = idx.load(ours, str(folder), None, None)
    assert (found.split, found.notes) == ("files", (f"the files {idx.PARTS[3]} are not those of the few release",))


def test_a_file_that_changes_is_read_anew(tmp_path):
    folder = write_idx(tmp_path / "a", seed=1)
    ref = f"mnist(path='{folder}')"
    first = data.load(ref)
    assert data.load(ref) is first
    write_idx(folder, train=40, seed=2)
    assert data.content_hash(ref) == data.load(ref).sha256 != first.sha256
    assert len(data.load(ref).train_y) == 40


# --- downloads -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror on loopback, and MNIST's spec pointed at it."""
    folder = write_idx(tmp_path / "mirror", packed=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    address = f"http://127.0.0.1:{httpd.server_port}/"
    md5 = tuple(hashlib.md5((folder / f"{p}.gz").read_bytes()).hexdigest() for p in idx.PARTS)
    spec = replace(idx_sets.MNIST, mirrors=(f"{address}none/", address), md5=md5)
    monkeypatch.setitem(
        data.SHIPPED,
        "mnist",
        replace(data.SHIPPED["mnist"], fetch=lambda options: downloads.ensure(spec, options.get("path"))),
    )
    yield spec
    httpd.shutdown()
    httpd.server_close()


def test_a_download_only_when_asked_then_kept(server, without_variable):
    assert "is not on this machine" in says(data.load, "mnist")
    d = data.load("mnist", download=True)
    assert d.sources[0].startswith(str(locations.cache() / "mnist"))
    assert data.load("mnist") is d
    (locations.cache() / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()  # as an interrupted download leaves it
    assert data.load("mnist", download=True) is d


def test_nothing_is_fetched_that_is_here(server, tmp_path, without_variable):
    write_idx(tmp_path / "system/mnist", seed=5)
    assert data.load("mnist", download=True).sources[0].startswith(str(tmp_path / "system"))
    assert not (locations.cache() / "mnist").exists()


def test_a_download_of_other_bytes_is_refused(server, without_variable):
    spec = replace(server, md5=("0" * 32, *server.md5[1:]))
    text = says(downloads.ensure, spec, None)
    assert "cannot be downloaded" in text
    assert all(mirror in text for mirror in spec.mirrors)
    assert "Files fetched in another way belong into the same folder" in text
    assert "--download" not in text, "the advice is what has just failed"
    assert not idx.present(locations.cache() / "mnist")
