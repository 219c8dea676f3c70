"""Two threads of a process that train or measure at once draw from one random stream, and are told so."""

import threading
import warnings

import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.host import in_own_state
from surgeon.recipe import Training
from surgeon.training import fit

TOLD = "torch has one random stream a process"


def of_threads(*jobs):
    """Run jobs in a thread each; the warnings about threads."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [str(w.message) for w in told if TOLD in str(w.message)]


def test_the_second_of_two_trainings_at_once_is_told():
    begun, told = threading.Event(), threading.Event()
    images = Images(torch.rand(8, 3, 4, 4), torch.arange(8) % 2)

    class First(nn.Sequential):
        def forward(self, x):
            begun.set()
            told.wait(60)
            return super().forward(x)

    def layers():
        return nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 2)

    def second():
        begun.wait(60)
        try:
            fit(nn.Sequential(*layers()), images, None, Training(epochs=1, batch_size=8))
        finally:
            told.set()

    said = of_threads(lambda: fit(First(*layers()), images, None, Training(epochs=1, batch_size=8)), second)
    assert len(said) == 1
    assert "another thread of this process is in surgeon's fit while this one enters fit" in said[0]


def test_one_after_the_other_and_one_within_another_say_nothing():
    stock = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(64, 2))

    @in_own_state()
    def outer():
        return surgeon.plan(stock, "kap", input_size=(3, 4, 4))

    assert of_threads(outer) == [] == of_threads(outer)


def test_cuts_wait_for_each_other_and_say_nothing():
    stock = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(64, 2))
    cuts = [lambda: surgeon.apply(stock, "kap", input_size=(3, 4, 4))] * 3
    assert of_threads(*cuts) == []
