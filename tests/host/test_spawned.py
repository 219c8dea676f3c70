"""A rewritten network goes to another process as the stock one does, also after a step that left something in
its layers."""

import copy
import pickle
import socket

import pytest
import torch
import torch.multiprocessing as mp
from torch.utils.data import DataLoader

from tests.host import other_processes, recipes


@pytest.fixture(scope="module")
def networks():
    """One for each recipe, after a step."""
    found = {name: recipes.network(name) for name in recipes.CUTTING}
    for network in found.values():
        recipes.step(network, *recipes.batch())
        network.zero_grad()
    return found


@pytest.fixture(scope="module")
def here(networks):
    """What each says in this process, with one thread as there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {name: other_processes.said(network) for name, network in networks.items()}
    torch.set_num_threads(threads)
    return found


@pytest.fixture(scope="module")
def there(networks):
    """What they say in a process that was started in one of the ways that hand objects over."""
    known = {}

    def ask(method):
        if method not in known:
            known[method] = {}
            context = mp.get_context(method)
            at_once = len(networks)
            if method == "forkserver":  # which takes 256 tensors at once
                at_once = len(networks) // 2
                context.set_forkserver_preload(["tests.host.other_processes"])
            for first in range(0, len(networks), at_once):
                some = dict(list(networks.items())[first : first + at_once])
                queue = context.SimpleQueue()
                process = context.Process(target=other_processes.told, args=(some, queue))
                process.start()
                known[method] |= queue.get()
                process.join()
                assert process.exitcode == 0
        return known[method]

    return ask


@pytest.fixture(scope="module")
def held(networks):
    """What they say in a worker of a DataLoader."""
    loader = DataLoader(
        other_processes.Held(networks), batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    return dict(zip(networks, loader, strict=True))


@pytest.fixture(scope="module")
def both(networks):
    """The parameters after a step in DistributedDataParallel, by process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    running = mp.spawn(other_processes.trained, args=(networks, port, queue), nprocs=2, join=False)
    found = dict(queue.get() for _ in range(2))
    while not running.join(60):
        pass
    return found


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("recipe", recipes.CUTTING)
def test_another_process_computes_the_same(recipe, method, here, there):
    assert there(method)[recipe] == here[recipe]


@pytest.mark.parametrize("recipe", recipes.CUTTING)
def test_so_does_a_worker_of_a_loader(recipe, here, held):
    logits, gradients, evaluated = held[recipe]
    assert (logits, gradients, evaluated) == here[recipe]


@pytest.mark.parametrize("recipe", recipes.CUTTING)
def test_two_processes_of_mp_spawn_train_one_network(recipe, networks, both):
    assert both[0][recipe] == both[1][recipe]
    before = [p.tolist() for p in networks[recipe].parameters()]
    assert both[0][recipe] != before


@pytest.mark.parametrize("recipe", recipes.CUTTING)
def test_a_pickle_holds_no_tensor_that_was_made_for_it(recipe, networks):
    """Such a tensor is gone before the other process asks for it."""
    network, sent = networks[recipe], []

    class Listening(pickle.Pickler):
        def reducer_override(self, value):
            if isinstance(value, torch.Tensor):
                sent.append(value)
            return NotImplemented

    Listening(_Nowhere(), protocol=5).dump(network)
    own = {t.untyped_storage().data_ptr() for t in _tensors(network)}
    assert sent and all(t.untyped_storage().data_ptr() in own for t in sent)
    assert copy.deepcopy(network).state_dict().keys() == network.state_dict().keys()


class _Nowhere:
    def write(self, data):
        return len(data)


def _tensors(network):
    """The tensors that its modules hold, those of displaced ones too."""
    displaced = network.displaced
    modules = [*network.modules(), *(m for d in displaced.modules.values() for m in d.modules())]
    values = [v for m in modules for v in (*vars(m).values(), *m._parameters.values(), *m._buffers.values())]
    return [v for v in (*values, *displaced.statistics.values()) if isinstance(v, torch.Tensor)]
