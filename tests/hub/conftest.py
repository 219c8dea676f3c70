"""huggingface_hub is pointed at a fake hub, with a cache of its own; nothing else can be reached."""

import socket

import pytest

import surgeon
from tests.hub.fake import TOKEN, FakeHub

SIZE = (3, 32, 32)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Connections leave this machine in no test here."""
    connect = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), (
            f"a test reached for {address}"
        )
        return connect(self, address)

    look_up = socket.getaddrinfo

    def local_name(host, *args, **kwargs):
        assert host in ("127.0.0.1", "localhost", "::1", None), f"a test asked for the address of {host}"
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", local)
    monkeypatch.setattr(socket, "getaddrinfo", local_name)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with FakeHub() as fake:
        _point(monkeypatch, fake.endpoint, tmp_path / "cache")
        yield fake


def _point(monkeypatch, endpoint, cache):
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    for home in (
        constants,
        file_download,
    ):  # older versions have names of their own for what newer ones look up
        monkeypatch.setattr(
            home,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            raising=False,
        )
        monkeypatch.setattr(home, "ENDPOINT", endpoint, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def logged_out(hub, monkeypatch, tmp_path):
    """The fake hub, without a token."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return hub


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """An endpoint where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _point(monkeypatch, f"http://127.0.0.1:{port}", tmp_path / "cache")


@pytest.fixture(scope="session")
def cut():
    """A rewritten network."""
    import torch

    torch.manual_seed(0)
    model = surgeon.create_model("test_resnet", num_classes=4, input_size=SIZE)
    return surgeon.apply(model, "kap", trained=True).eval()


@pytest.fixture
def folder(cut, tmp_path):
    return surgeon.save(cut, tmp_path / "cut")


@pytest.fixture
def stock(cut, tmp_path):
    """The folder of the network that `cut` folds into."""
    return surgeon.save(surgeon.fold(cut), tmp_path / "stock")


@pytest.fixture(scope="session")
def evaluated(cut, tmp_path_factory):
    """The folder of an evaluation of `cut`: eight images of noise."""
    import torch

    pytest.importorskip("torchattacks")
    pytest.importorskip("pyarrow")
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation

    folder = tmp_path_factory.mktemp("evaluated") / "run"
    settings = Evaluation(suite="basic", attacks=("fgsm",), eps=1 / 255, pictures=False, diagnostics=0)
    x, y = torch.rand(8, *SIZE), torch.arange(8) % 4
    assess(cut, x, y, settings, folder, name="cut", data={"source": "noise", "split": "test"})
    return folder
