"""Tables of verdicts and of images in folders whose names are no UTF-8 text, and in the C locale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from surgeon.disk.files import json_text
from surgeon.reading import parse_json

pytest.importorskip("pyarrow")
ROUND = """
import io, os, sys
from pathlib import Path
from PIL import Image
from surgeon.data.tables import parquet_classes, parquet_entries
from surgeon.disk.files import read_parquet, write_parquet
import pyarrow, pyarrow.parquet
for name in sys.stdin.buffer.read().split(b"\\0"):
    folder = Path(os.fsdecode(name))
    folder.mkdir()
    row = {"example": 3, "attack": "none"}
    write_parquet(folder / "verdicts.parquet", {"example": "int64", "attack": "string"}, [row])
    assert read_parquet(folder / "verdicts.parquet") == [row]
    picture = io.BytesIO()
    Image.new("L", (2, 2)).save(picture, "png")
    table = pyarrow.table({"image": [{"bytes": picture.getvalue(), "path": "a"}], "label": [1]})
    with (folder / "train.parquet").open("wb") as file:
        pyarrow.parquet.write_table(table, file)
    assert [label for _, label in parquet_entries(folder / "train.parquet")] == [1]
    assert parquet_classes(folder / "train.parquet") == ()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_table_is_written_and_read_under_any_name(tmp_path, locale):
    names = [os.fsencode(tmp_path) + b"/" + name for name in (b"e\xff", "é".encode())]
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", ROUND],
        input=b"\0".join(names),
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0"},
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert all(os.listdir(name) for name in names)


def test_json_holds_the_bytes_of_a_name_as_text():
    given = {"a": ["e\udcff", "\ud83d", "\\udcff"], "é\udc80": "😀 \\ é"}
    wanted = {"a": ["e\\udcff", "\\ud83d", "\\udcff"], "é\\udc80": "😀 \\ é"}
    assert parse_json(json_text(given), "x") == json.loads(json_text(wanted)) == wanted
    assert json_text(wanted) == json.dumps(wanted, indent=2)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_an_evaluation_ends_and_goes_on_under_any_name(tmp_path):
    torch = pytest.importorskip("torch")
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation
    from surgeon.report import report

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    folder = tmp_path / os.fsdecode(b"e\xff")
    given = (torch.rand(4, 3, 4, 4), torch.arange(4) % 3, Evaluation(attacks=["fgsm"]), folder)
    more = {"made": {"command": [str(folder)]}, "data": {"source": str(folder)}}
    found = assess(network, *given, **more)
    assert assess(network, *given, **more) == found
    page = report([folder], folder / "report.html")
    assert "e\\udcff" in Path(page or folder / "report.html").read_text(encoding="utf-8")
