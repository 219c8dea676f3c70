"""Every public function of surgeon: how it is called here, or why the caller's state of torch is right for it.

`WALKED` are the packages and modules whose public functions are looked up; a function in neither `CALLS` nor
`CALLERS` makes the tests fail, and so does a module of surgeon in neither `WALKED` nor `PLAIN`.
"""

import copy
import importlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

import surgeon
from surgeon import data, evaluation, insight, models, pipeline, testing, training
from surgeon.evaluation import Attack, Normalized
from surgeon.insight import adversarial, changes, features, gradcam, moments, similarity
from surgeon.methods.registry import parse
from surgeon.models import checkpoints
from surgeon.recipe import Evaluation, Training, load_recipe
from surgeon.store import exporting

SIZE = (3, 8, 8)
WALKED = (
    "surgeon",
    "surgeon.surgery",
    "surgeon.evaluation",
    "surgeon.training",
    "surgeon.insight",
    "surgeon.store.exporting",
    "surgeon.pipeline",
    "surgeon.data",
    "surgeon.testing",
    "surgeon.verification",
    "surgeon.store.artifact",
    "surgeon.models.checkpoints",
    "surgeon.models",
    "surgeon.store.hub",
    "surgeon.publishing.pushing",
    "surgeon.pipeline.converting",
    "surgeon.insight.adversarial",
    "surgeon.insight.changes",
    "surgeon.insight.features",
    "surgeon.insight.gradcam",
    "surgeon.insight.moments",
    "surgeon.insight.similarity",
    "surgeon.demo",
)
PLAIN = {
    "methods": "maths on the tensors that it is given, and modules: a network runs them in its caller's state",
    "tensors": "as methods",
    "graph": "called by surgeon.surgery alone; the graphs themselves are made in surgeon's own state",
    "zoo": "networks, made as timm makes them: in the state of who asks",
    "results": "data alone, no torch",
    "report": "no torch",
    "cli": "a process of its own",
    "ownership": "files",
    "disk": "files",
    "store": "files; what reads or writes a network is walked",
    **dict.fromkeys(
        (
            "arguments",
            "ball",
            "l1_ball",
            "edits",
            "effects",
            "execution",
            "face",
            "scaffold",
            "html",
            "errors",
            "extra_state",
            "host",
            "images",
            "interrupts",
            "kept_modes",
            "lazy",
            "machine",
            "markdown",
            "merging",
            "namesake",
            "numerals",
            "plans_made",
            "processes",
            "progress",
            "quantities",
            "reading",
            "protocol",
            "recipe",
            "said",
            "warned",
            "conditions",
            "selection",
            "spelling",
            "strict",
            "strict_yaml",
            "settings_faults",
            "torch_private",
            *("tree", "wrappers"),
            "values",
            "__main__",
        ),
        "data, files and checks, used by what is walked",
    ),
}


class Made:
    """What is made once: a rewritten network, and one in a folder that is read alone."""

    def __init__(self, trained, folder):
        self.trained = trained
        self.cut = surgeon.apply(trained, "kap", input_size=SIZE)
        self.saved = surgeon.save(surgeon.apply(_named(), "kap", input_size=SIZE), folder / "saved")


@dataclass
class World:
    """A trained network, rewritten ones, images and a folder for one call; what it gives may be changed."""

    made: Made
    folder: Path

    @cached_property
    def stock(self):
        return copy.deepcopy(self.made.trained)

    @cached_property
    def cut(self):
        return copy.deepcopy(self.made.cut)

    @cached_property
    def saved(self):
        return self.made.saved

    @cached_property
    def x(self):
        return torch.rand(48, *SIZE, generator=torch.Generator().manual_seed(1))

    @cached_property
    def y(self):
        with torch.no_grad():
            return self.subject(self.x).argmax(1)

    @cached_property
    def subject(self):
        return Normalized(self.stock, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)).eval()

    @cached_property
    def weights(self):
        torch.save(self.stock.state_dict(), self.folder / "w.pth")
        return self.folder / "w.pth"


def _named():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        arguments = {"channels": [8, 8, 8, 8]}
        return surgeon.create_model("resnet18", num_classes=10, input_size=SIZE, model_args=arguments).eval()


ATTACKS = [
    Attack(name="a", kind="apgd", eps=0.02, steps=4),
    Attack(name="s", kind="square", eps=0.02, steps=5, loss="margin"),
    Attack(name="c", kind="cw", norm="l2", steps=3, cascade=False),
    Attack(name="p", kind="own-pgd", eps=0.5, norm="l2", steps=3, eot=2),
]
QUICK = Evaluation(
    suite="basic", attacks=("pgd",), steps=2, eps=0.02, samples=8, diagnostics=0, pictures=False
)


def _fit(w):
    network = surgeon.apply(w.stock, "anl", input_size=SIZE)
    settings = Training(epochs=1, batch_size=16, optimizer="sgd", lr=0.01)
    history = training.fit(network, data.Images(w.x, w.y), None, settings, progress=False)
    return network, [h[:2] for h in history]


def _convert(w):
    job = pipeline.converting.Job(
        build=lambda path: _named(),
        recipes=[load_recipe("kap")],
        settings={"a": 1},
        input_size=SIZE,
        data="digits",
        samples=16,
        calibration_count=16,
    )
    found, _ = pipeline.converting.convert(job, w.weights, w.folder / "converted")
    return found.model_dump(include={"accuracy", "drift", "choice", "layers", "refitted"}), surgeon.load(
        w.folder / "converted"
    )


RUN = dict(input_size=(1, 8, 8), model_args={"channels": [8, 8, 8, 8]}, seed=1)


def _train(w):
    recipe = load_recipe("anl", ["training.epochs=1", "training.batch_size=256"])
    pipeline.train([recipe], "resnet18", w.folder / "run", **RUN)
    return surgeon.load(w.folder / "run" / "trained")


def _run(w):
    settings = [
        "training.epochs=1",
        "training.batch_size=256",
        "evaluation.samples=8",
        "evaluation.steps=2",
        "evaluation.suite=basic",
    ]
    found = pipeline.run([load_recipe("kap", settings)], "resnet18", w.folder / "run", **RUN)
    again = pipeline.verify_folder(w.folder / "run")
    return found.summary.model_dump(), [(c.name, c.ok) for c in again]


def _target(w):
    found = pipeline.evaluate_target(str(w.saved), w.folder / "e", QUICK, data="digits")
    return found.summary.model_dump()


def _loaded(w):
    checkpoints.load_weights(w.cut, w.weights)
    return w.cut


CALLS = {
    "surgeon.surgery.planning.plan": lambda w: surgeon.plan(w.stock, "kap+anl", input_size=SIZE),
    "surgeon.surgery.looking.sites": lambda w: surgeon.sites(w.stock, input_size=SIZE),
    "surgeon.surgery.looking.look": lambda w: surgeon.surgery.look(w.stock, input_size=SIZE).sites,
    "surgeon.surgery.applying.apply": lambda w: surgeon.apply(
        w.stock, "kap", input_size=SIZE, calibration=w.x
    ),
    "apply without images": lambda w: surgeon.apply(w.stock, "kap+defective+canl", input_size=SIZE),
    "apply weight maps": lambda w: surgeon.apply(w.stock, "wm-unsharp", input_size=SIZE, calibration=w.x),
    "apply from a list": lambda w: surgeon.apply(
        w.stock, "kap", input_size=SIZE, calibration=[w.x[:24], w.x[24:]]
    ),
    "surgeon.surgery.replaying.replay": lambda w: surgeon.surgery.replay(
        w.stock, w.cut.surgery, consume=False
    ),
    "surgeon.surgery.folding.fold": lambda w: surgeon.fold(w.cut),
    "surgeon.surgery.folding.revert": lambda w: surgeon.revert(w.cut),
    "surgeon.verification.verify": lambda w: surgeon.verify(w.stock, w.cut),
    "surgeon.verification.compare": lambda w: surgeon.verification.compare(w.stock, surgeon.revert(w.cut)),
    "surgeon.store.artifact.save": lambda w: sorted(
        (p.name, p.read_bytes()) for p in surgeon.save(w.cut, w.folder / "s").iterdir()
    ),
    "surgeon.store.artifact.load": lambda w: surgeon.load(w.saved),
    "surgeon.models.checkpoints.read_weights": lambda w: checkpoints.read_weights(w.weights),
    "surgeon.models.checkpoints.load_weights": _loaded,
    "surgeon.models.pixels.normalized": lambda w: models.normalized(w.x, _with_mean(w.stock)),
    "surgeon.evaluation.Normalized": lambda w: Normalized(w.stock, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)),
    "surgeon.store.exporting.file.export": lambda w: (
        exporting.export(w.cut, w.folder / "n.pt2", format="torch-export", input_size=SIZE).difference
    ),
    "export onnx": lambda w: exporting.export(w.cut, w.folder / "n.onnx", input_size=SIZE).difference,
    "surgeon.testing.check_operation": lambda w: testing.check_operation(
        {"op": "kap"}, w.stock, input_size=SIZE
    ),
    "surgeon.evaluation.engine.blocks.evaluate": lambda w: (
        evaluation.evaluate(w.subject, w.x, w.y, ATTACKS).verdicts
    ),
    "surgeon.evaluation.diagnostics.probes.diagnose": lambda w: evaluation.diagnose(
        w.subject, w.x, w.y, eps=0.02
    ),
    "surgeon.evaluation.beyond.certification.certify": lambda w: evaluation.certify(
        w.subject, w.x[:3], w.y[:3], sigma=0.1, n0=20, n=200
    ),
    "surgeon.evaluation.beyond.under_noise.noise_accuracy": lambda w: evaluation.noise_accuracy(
        w.subject, w.x, w.y, [0.1, 0.3]
    ),
    "surgeon.evaluation.beyond.published.shift_accuracy": lambda w: (
        evaluation.shift_accuracy(Twice(w.subject), _fog(w.folder), (3, 8, 8), samples=20).rows
    ),
    "surgeon.evaluation.beyond.under_noise.noise_table": lambda w: evaluation.noise_table(
        w.subject, w.x, w.y
    ),
    "surgeon.evaluation.attacks.transfer.transfer_matrix": lambda w: evaluation.transfer_matrix(
        {"one": w.subject, "two": Normalized(w.cut)}, w.x, w.y, ATTACKS[0]
    ),
    "surgeon.evaluation.engine.subject.evaluated": lambda w: evaluation.evaluated(w.cut, w.x),
    "surgeon.evaluation.folder.assess": lambda w: (
        evaluation.assess(w.stock, w.x[:16], w.y[:16], QUICK, w.folder / "a").summary
    ),
    "surgeon.evaluation.engine.kept.adversarial_images": lambda w: evaluation.adversarial_images(
        w.folder, evaluation.Outcome((), tuple(ATTACKS), 1), w.x[:0]
    ),
    "surgeon.training.loop.fit": _fit,
    "surgeon.insight.album.pictures": lambda w: insight.pictures(
        w.subject, w.x[:4], w.y[:4], (w.x[:4] + 0.05).clamp(0, 1)
    ),
    "surgeon.insight.adversarial.attacked": lambda w: adversarial.attacked(
        w.subject, w.x[:4], (w.x[:4] + 0.05).clamp(0, 1)
    ),
    "surgeon.insight.changes.layer_changes": lambda w: changes.layer_changes(
        w.subject, w.x[:4], (w.x[:4] + 0.05).clamp(0, 1)
    ),
    "surgeon.insight.changes.spread_by_layer": lambda w: changes.spread_by_layer(w.subject, w.x[:4]),
    "surgeon.insight.features.feature_maps": lambda w: features.feature_maps(w.subject, w.x[:4]),
    "surgeon.insight.gradcam.gradcam": lambda w: gradcam.gradcam(w.subject, w.x[:4], w.y[:4]),
    "surgeon.insight.moments.moments_by_layer": lambda w: moments.moments_by_layer(w.subject, w.x[:4]),
    "surgeon.insight.similarity.gradient_similarity": lambda w: similarity.gradient_similarity(
        w.subject, w.x[:8], w.y[:8], layer="0"
    ).nan_to_num(),
    "surgeon.pipeline.training.train": _train,
    "surgeon.pipeline.running.run": _run,
    "surgeon.pipeline.evaluating.evaluate_target": _target,
    "surgeon.pipeline.verifying.verify_folder": lambda w: [
        (c.name, c.ok) for c in pipeline.verify_folder(w.saved)
    ],
    "surgeon.pipeline.doctor.examine": lambda w: [c for c in pipeline.examine(w.cut) if c.name != "torch"],
    "surgeon.pipeline.converting.convert": _convert,
    "surgeon.data.scans.digits": lambda w: data.digits(8),
    "surgeon.data.labelled.images": lambda w: data.images("digits", 5, (3, 12, 12)),
    "surgeon.data.labelled.labelled": lambda w: data.labelled("digits", (1, 8, 8), count=7),
    "surgeon.data.sets.load_sets": lambda w: tuple(data.load_sets("digits", input_size=(1, 8, 8)).test),
    "surgeon.data.holdout.held_out": lambda w: data.held_out("digits", (1, 8, 8), count=9).x,
    "surgeon.data.holdout.held_out_of": lambda w: (
        data.held_out_of(data.load_sets("digits", input_size=(1, 8, 8)), 9).x
    ),
    "surgeon.data.holdout.stratified": lambda w: data.stratified(w.y, 5),
    "surgeon.data.calibration.drawn": lambda w: data.drawn(data.Images(w.x, w.y), 9),
    "surgeon.data.splits.split": lambda w: data.split(w.y, (0.5, 0.2)),
    "surgeon.data.splits.balanced": lambda w: data.balanced(w.y, 2),
}
TRAINS = ("surgeon.training.loop.fit", "surgeon.pipeline.training.train", "surgeon.pipeline.running.run")
ONE_BY_ONE = (
    "surgeon.surgery.planning.plan",
    "surgeon.surgery.applying.apply",
    "apply weight maps",
    "surgeon.surgery.folding.fold",
    "surgeon.store.artifact.load",
    "surgeon.evaluation.engine.blocks.evaluate",
    "surgeon.evaluation.beyond.under_noise.noise_table",
    "surgeon.training.loop.fit",
)
"""What is tried in each state by itself; the others in all of them at once."""
NEEDS = {
    "export onnx": ("onnx", "onnxscript", "onnxruntime"),
    "surgeon.insight.album.pictures": ("matplotlib",),
    **{n: ("torchattacks", "scipy") for n in CALLS if n.startswith("surgeon.evaluation.")},
    **{
        n: ("sklearn", "accelerate", "torchattacks", "scipy", "pyarrow")
        for n in CALLS
        if n.startswith("surgeon.pipeline.")
    },
    **{n: ("sklearn",) for n in CALLS if n.startswith("surgeon.data.")},
    "surgeon.training.loop.fit": ("accelerate",),
}


class Twice(torch.nn.Module):
    """A network of twice as many outputs: those of `model`, and the same turned about."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        found = self.model(x)
        return torch.cat([found, -found], 1)


def _fog(folder):
    """CIFAR-10-C with one corruption, in files that are sparse but for the last images."""
    import numpy

    place = folder / "CIFAR-10-C"
    place.mkdir()
    numpy.save(place / "labels.npy", numpy.tile(numpy.arange(10_000) % 10, 5).astype("uint8"))
    shape = (50_000, 32, 32, 3)
    array = numpy.lib.format.open_memmap(place / "fog.npy", mode="w+", dtype="uint8", shape=shape)
    array[-8:] = numpy.arange(8 * 3072).reshape(8, 32, 32, 3) % 251
    return place


def _with_mean(model):
    model.pretrained_cfg = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.2)}
    return model


def public():
    """Every public function of `WALKED`, by where it is defined."""
    found = set()
    for name in WALKED:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
        for each in names:
            value = getattr(module, each)
            own = hasattr(module, "__all__") or getattr(value, "__module__", "") == name
            if own and inspect.isroutine(value):
                found.add(f"{value.__module__}.{value.__name__}")
    return found


assert parse  # operations are registered before the first state is entered
