"""`make sweep`: every timm architecture and every torchvision model × every shipped recipe with surgery.

One line of JSON a pair in found/pairs.jsonl, which is kept with the code; pairs that are there are not repeated, so
that a sweep can be killed and goes on. `benchmarks.coverage` writes docs/coverage.md from these lines. With `--plans`
models are planned alone, on tensors without data, with ANL behind batch norms and behind norms of any family:
found/plans.jsonl says how many of them have no place for it.

What is done with a pair:

    plan, apply, names, visible, forward, backward      every pair
    identity, save_load, fold                           two recipes for each model, of different kinds, in turns

The first six touch what differs from pair to pair: which sites there are, whether the graphs show them, whether
shapes fit. The other three depend on the model and on the *kind* of cut (a layer behind a convolution, a layer
between norm and activation, a convolution replaced, a layer at the input, another stem) and not on what the
inserted layer computes, which the layers' own tests check. So kinds take turns over the models, and the recipes
of a kind as well (`kinds.py`): neighbours by name, which mostly share a class, meet all kinds.

Sizes: models have random initial weights, and inputs as small as the architecture takes. Where parameters or
operations are too many (`pair.py` has the limits), a pair runs on tensors without data: plan, apply, names, visible,
and the shapes of a forward pass where modules are exchanged (inserted layers keep shapes); for the two recipes in
turn, whose limits are wider, those of both passes in any case, and folding by names and shapes. What is that large
is mostly a class of which a smaller model runs on real tensors.
"""
