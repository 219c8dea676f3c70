"""Public functions for which the caller's state of torch is right, and why."""

_DATA = "data alone: no torch"
_READS = "reads names, shapes and attributes"
CALLERS = {
    "surgeon.recipe.loading.load_recipe": _DATA,
    "surgeon.face.recipes": _DATA,
    "surgeon.face.operations": _DATA,
    "surgeon.face.select": _DATA,
    "surgeon.surgery.door.surgery_of": _READS,
    "surgeon.models.creating.create_model": (
        "makes a stock network as timm does: in the dtype, on the device and from the random "
        "stream of who asks"
    ),
    "surgeon.models.creating.is_known": _DATA,
    "surgeon.models.creating.list_models": _DATA,
    "surgeon.models.facts.name_of": _READS,
    "surgeon.models.facts.input_size_of": _READS,
    "surgeon.models.facts.in_channels_of": _READS,
    "surgeon.models.facts.input_std_of": _READS,
    "surgeon.models.facts.normalization_of": _READS,
    "surgeon.models.facts.num_classes_of": _READS,
    "surgeon.models.normalisation.set_normalization": "writes plain numbers",
    "surgeon.training.two_rounds.adversarial_noise": "one line in the caller's own step, whose autocast it shares",
    "surgeon.training.two_rounds.set_noise": "sets attributes",
    "surgeon.training.anneal.anneal": "sets attributes",
    "surgeon.tensors.auxiliary.auxiliary_norms": "exchanges tensors for a block of the caller's own step",
    "surgeon.training.remap.remap": "moves the entries of an optimizer; computes nothing",
    "surgeon.verification.demand": _DATA,
    "surgeon.verification.relative": "a number of two tensors, in float64",
    "surgeon.verification.tolerance_of": _READS,
    "surgeon.verification.names_kept": _READS,
    "surgeon.verification.layers_called": _READS,
    "surgeon.store.artifact.folder_of": _DATA,
    "surgeon.models.checkpoints.versioned": _READS,
    "surgeon.models.checkpoints.load_file": "called by load_weights and create_model",
    "surgeon.models.checkpoints.lay_on": "called by load_weights and load",
    "surgeon.models.checkpoints.check_fit": _READS,
    "surgeon.models.checkpoints.optional_keys": _READS,
    **dict.fromkeys(
        [
            f"surgeon.store.hub.{n}"
            for n in ("is_hub", "split", "fetch", "folder_of", "files_of", "pull", "check_name", "refuse")
        ]
        + [f"surgeon.publishing.pushing.{n}" for n in ("push", "prepare")],
        "files; networks are read by surgeon.load",
    ),
    **dict.fromkeys(
        [
            "surgeon.evaluation.beyond.certification.certified_accuracy",
            "surgeon.results.statistics.mcnemar",
            "surgeon.results.statistics.wilson",
            "surgeon.evaluation.finished.read_assessment",
            "surgeon.evaluation.engine.store.read_outcome",
            "surgeon.evaluation.suites.suite",
            "surgeon.results.summary.summarize",
            "surgeon.store.exporting.description.metadata",
            "surgeon.data.sources.absolute_source",
            "surgeon.data.contents.differing",
            "surgeon.data.iwildcam.iwildcam",
            "surgeon.pipeline.converting.checkpoints_in",
        ],
        _DATA,
    ),
    "surgeon.pipeline.converting.convert_all": "a generator, which calls convert",
    "surgeon.data.contents.contents_of": "hashes bytes",
    "surgeon.data.images.pixels": "a quotient of one tensor",
    "surgeon.insight.adversarial.draw_adversarial": "draws what was measured",
    "surgeon.insight.changes.draw_changes": "draws what was measured",
    "surgeon.insight.changes.draw_spread": "draws what was measured",
    "surgeon.insight.features.draw_features": "draws what was measured",
    "surgeon.insight.gradcam.draw_gradcam": "draws what was measured",
    "surgeon.insight.adversarial.pictured": "called by pictures alone",
    "surgeon.insight.changes.pictured_changes": "called by pictures alone",
    "surgeon.insight.changes.pictured_spread": "called by pictures alone",
    "surgeon.insight.features.pictured": "called by pictures alone",
    "surgeon.insight.gradcam.pictured": "called by pictures alone",
    "surgeon.demo.run": "made of what is walked, for minutes",
    "surgeon.demo.load_copy": "saves and loads",
    "surgeon.demo.over": "counts alone",
    "surgeon.pipeline.studying.study": "runs, of which `run` is walked, for minutes",
    "surgeon.pipeline.reproducing.reproduce": "runs, of which `run` is walked",
}
