"""The zoo's names and arguments, and what is said of wrong ones."""

import pytest
import torch

import surgeon
from surgeon import zoo
from surgeon.cli.networks import _is_folder
from surgeon.errors import ModelError
from surgeon.models import input_size_of, input_std_of, list_models, name_of


def test_the_names_are_listed_with_their_prefix():
    assert list_models("zoo/*") == zoo.names()
    assert "zoo/lenet5" in list_models() and "resnet18" in list_models()
    assert not _is_folder("zoo/lenet5")


def test_a_network_knows_its_name_and_images():
    model = surgeon.create_model("zoo/cifar_resnet20", num_classes=100)
    assert name_of(model) == "zoo/cifar_resnet20" and model.num_classes == 100
    assert input_size_of(model) == (3, 32, 32) and input_std_of(model) == (0.229, 0.224, 0.225)
    assert input_std_of(surgeon.create_model("zoo/lenet5")) is None
    assert isinstance(zoo.LeNet5(img_size=[28, 28]), torch.nn.Module)


@pytest.mark.parametrize(
    "given, size",
    [
        (dict(input_size=(3, 32, 32)), (3, 32, 32)),
        (dict(input_size=(1, 23, 32)), (1, 23, 32)),
        (dict(in_chans=3, model_args={"img_size": 20}), (3, 20, 20)),
        (dict(input_size=(1, 20, 20), in_chans=1, model_args={"img_size": [20, 20]}), (1, 20, 20)),
    ],
)
@pytest.mark.parametrize("name", ["zoo/lenet5", "zoo/cnn"])
def test_a_network_of_fixed_size_is_built_for_the_size_that_is_asked_for(name, given, size):
    model = surgeon.create_model(name, **given)
    assert input_size_of(model) == size
    assert model(torch.zeros(2, *size)).shape == (2, 10)


def test_other_image_sizes_need_no_argument_where_nothing_fixes_them():
    for name in ("zoo/shallow2", "zoo/wm_resnet", "zoo/wm_densenet"):
        model = surgeon.create_model(name, input_size=(1, 23, 32))
        assert model(torch.zeros(2, 1, 23, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    "name, given, words",
    [
        ("zoo/lenet", {}, "unknown model 'zoo/lenet'; did you mean 'zoo/lenet5'"),
        ("zoo/cifarresnet20", {}, "did you mean 'zoo/cifar_resnet20'"),
        ("zoo/cnn", {"model_args": {"kernel": 3}}, "takes no argument 'kernel'; did you mean 'kernel_size'"),
        ("zoo/resnet18", {"model_args": {"kernel": 3}}, "unexpected keyword"),
        ("zoo/cnn", {"model_args": {"kernel_size": 4}}, "must be odd"),
        ("zoo/cnn", {"model_args": {"img_size": 6}}, "too small"),
        ("zoo/cnn", {"model_args": {"img_size": "big"}}, "write one side or two"),
        ("zoo/cnn", {"model_args": {"widths": []}}, "channels of each convolution"),
        ("zoo/lenet5", {"input_size": (1, 8, 8)}, "at least 12 a side"),
        ("zoo/lenet5", {"input_size": (1, 4, 28, 28)}, r"images \(C, H, W\)"),
        ("zoo/lenet5", {"input_size": (3, 28, 28), "in_chans": 1}, "in_chans=1 contradicts"),
        (
            "zoo/lenet5",
            {"input_size": (1, 32, 32), "model_args": {"img_size": 28}},
            "img_size=28 contradicts",
        ),
        ("zoo/lenet5", {"pretrained": True}, "no pretrained weights"),
        ("zoo/shallow1", {"model_args": {"kernel_size": 2}}, "odd"),
        ("zoo/wm_resnet", {"model_args": {"widths": [8]}}, "the same stages"),
        ("zoo/wm_densenet", {"model_args": {"growth": 0}}, "1 or more"),
    ],
)
def test_wrong_names_and_arguments_are_refused_by_name(name, given, words):
    with pytest.raises(ModelError, match=words):
        surgeon.create_model(name, **given)


def test_a_depth_that_no_such_network_has_is_refused():
    with pytest.raises(ModelError, match="6n\\+2, such as 20"):
        zoo.CifarResNet(21)


@pytest.mark.parametrize("name", ["zoo/lenet5", "zoo/cnn"])
def test_images_of_another_size_get_an_error_that_names_the_right_one(name):
    model = surgeon.create_model(name)
    with pytest.raises(ModelError, match="built for images of 28×28.*not .*img_size"):
        model(torch.zeros(1, 1, 32, 32))
    with pytest.raises(surgeon.SurgeonError, match="28×28"):
        surgeon.plan(model, "kap", input_size=(1, 32, 32))
    cut = surgeon.apply(model, "kap")
    with pytest.raises(ModelError, match="28×28"):
        cut(torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize("name", ["net.onnx", "notes.txt"])
def test_a_file_that_holds_no_weights_is_there_all_the_same(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(ModelError, match="is a file, but not of weights") as caught:
        surgeon.create_model(str(tmp_path / name))
    assert "did you mean" not in str(caught.value)
