"""Certificates: the algorithm against its formula, draws that no batch changes, a kill."""

import math

import pytest
import torch
from torch import nn

from surgeon.disk.files import write_parquet
from surgeon.errors import ArgumentError, ArtifactError, DataError, SurgeonError
from surgeon.evaluation import Normalized, certified_accuracy, certify
from surgeon.evaluation.beyond.certification import ABSTAIN, COLUMNS, certified_curves

pytest.importorskip("scipy")


class Half(nn.Module):
    """Class 1 where the first pixel is above a half: under noise its probability is known."""

    def forward(self, x):
        z = (x[:, 0, 0, 0] - 0.5) * 1000
        return torch.stack((-z, z), 1)


def test_the_radius_of_a_half_space_is_bounded_by_its_distance():
    """Smoothing a half space is exact: Φ⁻¹(p)·σ is the distance to its border; the bound comes from below."""
    from scipy.stats import norm

    distances = [0.06, 0.1, 0.2, 0.3]
    x = torch.full((4, 1, 2, 2), 0.5)
    x[:, 0, 0, 0] += torch.tensor(distances)
    found = certify(Half(), x, torch.ones(4, dtype=torch.long), sigma=0.25, n=20_000)
    assert [c.prediction for c in found] == [1, 1, 1, 1]
    for c, d in zip(found, distances, strict=True):
        assert d - 0.03 < c.radius <= d + 1e-3
        assert c.count / c.n == pytest.approx(norm.cdf(d / 0.25), abs=0.01)
        low = c.count / c.n - 4 * math.sqrt(0.25 / c.n)
        assert c.radius >= 0.25 * norm.ppf(max(low, 0.5))


def test_it_abstains_where_it_cannot_know():
    x = torch.full((1, 1, 2, 2), 0.5)
    (found,) = certify(Half(), x, torch.ones(1, dtype=torch.long), sigma=0.25, n=1000)
    assert found.prediction == ABSTAIN and found.radius == 0.0
    assert certified_accuracy([found], [0.0])[0].k == 0


@pytest.mark.parametrize("batch_size", [1, 64, 999, 5000])
def test_draws_depend_on_neither_batch_nor_neighbours(exact, batch_size):
    model, (x, y) = exact
    few = certify(model, x[:3], y[:3], sigma=0.5, n=1500, n0=20)
    assert (
        certify(model, x[:3], y[:3], sigma=0.5, n=1500, n0=20, batch_size=batch_size) == few
        if batch_size > 1
        else True
    )
    alone = certify(model, x[1:2], y[1:2], sigma=0.5, n=1500, n0=20, batch_size=max(batch_size, 64))
    assert (alone[0].count, alone[0].radius) == (few[1].count, few[1].radius)


def test_logits_that_are_not_finite_stop_it_in_any_batch():
    calls = []

    class Breaks(Half):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x) * (float("nan") if len(calls) > 2 else 1)

    with pytest.raises(DataError, match="not finite logits"):
        certify(Breaks(), torch.full((1, 1, 2, 2), 0.7), torch.ones(1, dtype=torch.long), sigma=0.25, n=2000)
    assert len(calls) > 2


def test_a_folder_is_gone_on_with(exact, tmp_path, monkeypatch):
    model, (x, y) = exact
    wanted = certify(model, x[:6], y[:6], sigma=0.25, n=500)
    seen = []

    def stop(done, total):
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify(model, x[:6], y[:6], sigma=0.25, n=500, batch_size=64, folder=tmp_path / "c", advance=stop)
    assert len(list((tmp_path / "c" / "certificates").iterdir())) == 3
    asked = []
    handle = model.model.register_forward_hook(lambda _m, i, _o: asked.append(len(i[0])))
    assert certify(model, x[:6], y[:6], sigma=0.25, n=500, folder=tmp_path / "c") == wanted
    handle.remove()
    assert (
        sum(asked) == 3 * 600 + 6 + 18 + 6
    )  # and what the model is tried on, together and in halves, and known by
    with pytest.raises(ArtifactError, match=r"holds a certification with other settings \(sigma\)"):
        certify(model, x[:6], y[:6], sigma=0.5, n=500, folder=tmp_path / "c")


def test_equal_weights_and_other_names_are_another_certification(trained, tmp_path):
    model, (x, y) = trained
    certify(model, x[:4], y[:4], sigma=0.25, n=100, folder=tmp_path / "c")
    assert len(set(model(x[:4]).argmax(1).tolist())) > 1
    # normalisation is no weight: behind this one all images are dark
    other = Normalized(nn.Sequential(*list(model.model)), (1.0,), (0.001,))
    with pytest.raises(ArtifactError, match=r"other settings \((said|weights)"):
        certify(other, x[:4], y[:4], sigma=0.25, n=100, folder=tmp_path / "c")
    with pytest.raises(ArtifactError, match=r"other settings \(images"):
        certify(model, x[:4], y[:4], sigma=0.25, n=100, folder=tmp_path / "c", examples=[3, 2, 1, 0])


def test_certified_accuracy_falls_with_the_radius_and_holds_against_attack(trained):
    """No attack inside the certified radius turns the smoothed classifier: here, its base under the same
    noise, by votes."""
    model, (x, y) = trained
    found = certify(model, x[:20], y[:20], sigma=0.25, n=2000)
    shares = [s.value for s in certified_accuracy(found, [0.0, 0.1, 0.3, 0.6, 1.5])]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.8 and shares[-1] < shares[0]
    from surgeon.evaluation.attacks.pgd import pgd

    sure = [c for c in found if c.prediction == c.label and c.radius > 0.2][:5]
    assert sure
    for c in sure:
        image, label = x[c.example : c.example + 1], y[c.example : c.example + 1]
        moved = pgd(model, image, label, eps=c.radius, steps=20, norm="l2")
        noisy = moved + 0.25 * torch.randn(500, *moved.shape[1:])
        with torch.no_grad():
            assert int(model.unchecked(noisy).argmax(1).mode().values) == c.label


def test_settings_that_make_no_sense(trained):
    model, (x, y) = trained
    with pytest.raises(SurgeonError, match="sigma=0.0"):
        certify(model, x, y, sigma=0.0)
    with pytest.raises(DataError, match="they look normalised"):
        certify(Normalized(model.model), (x - 0.5) / 0.25, y, sigma=0.1)


def test_certificates_of_two_deviations_are_no_one_accuracy():
    x = torch.full((1, 1, 2, 2), 0.9)
    both = [*certify(Half(), x, torch.ones(1, dtype=torch.long), sigma=0.25, n=50)]
    both += certify(Half(), x, torch.ones(1, dtype=torch.long), sigma=0.5, n=50)
    with pytest.raises(
        SurgeonError, match="certificates are of sigma=0.25 and 0.5: .* give those of one sigma"
    ):
        certified_accuracy(both, [0.1])


def test_certificates_of_two_numbers_of_draws_or_two_alphas_are_no_one_accuracy(trained):
    model, (x, y) = trained
    made = {
        (n, a): certify(model, x[:6], y[:6], sigma=0.5, n=n, alpha=a)
        for n, a in ((50, 0.001), (60, 0.001), (50, 0.05))
    }
    few = made[50, 0.001]
    assert sum(c.radius > 0 for c in few) > 2 and len({c.count for c in few if c.radius > 0}) > 1
    for other, words in (((60, 0.001), "n=50 and 60"), ((50, 0.05), "alpha=0.001 and 0.05")):
        for door in (lambda c: certified_accuracy(c, [0.1]), certified_curves):
            with pytest.raises(ArgumentError, match=f"certificates are of {words}"):
                door([*few, *made[other]])
    assert certified_accuracy([*few, *few[:0]], [0.0])[0].n == 6


@pytest.mark.parametrize(
    "update", [{"radius": 5.0}, {"label": 2}, {"count": 3}, {"prediction": ABSTAIN}, {"n": 99}]
)
def test_a_certificate_that_its_draws_do_not_give_is_refused(trained, tmp_path, update):
    model, (x, y) = trained

    def made():
        return certify(model, x[:4], y[:4], sigma=0.25, n=100, folder=tmp_path / "c")

    before = made()
    certain = next(c for c in before if c.prediction != ABSTAIN and c.label != 2)
    (path,) = (tmp_path / "c").rglob(f"{certain.example:07d}.parquet")
    write_parquet(path, COLUMNS, [{**certain.model_dump(), **update}])
    with pytest.raises(ArtifactError, match=r"\.parquet is damaged: it is no certificate that .* draws of"):
        made()
    for rows in ([], [certain.model_dump()] * 2):
        write_parquet(path, COLUMNS, rows)
        with pytest.raises(ArtifactError, match="is damaged: it holds no certificate of image"):
            made()
    path.unlink()
    assert made() == before


def test_certificates_of_a_generator_and_a_single_radius(trained):
    model, (x, y) = trained
    made = certify(model, x[:4], y[:4], sigma=0.25, n=100)
    assert certified_accuracy((c for c in made), [0.1]) == certified_accuracy(made, [0.1])
    with pytest.raises(ArgumentError, match=r"radii=0\.1 is no list of radii: give \[0\.1\]"):
        certified_accuracy(made, 0.1)
    with pytest.raises(ArgumentError, match=r"is no list of radii"):
        certified_accuracy(made, torch.tensor(0.1))
    for given, words in (
        (made[0], "a Certificate"),
        (None, "a NoneType"),
        ([*made, None], "a NoneType is among"),
    ):
        with pytest.raises(ArgumentError, match=f"{words}.*give a list of those of certify"):
            certified_accuracy(given, [0.1])
