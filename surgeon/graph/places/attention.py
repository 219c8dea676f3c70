"""Which modules are attention, by the layers that make query, key and value in them."""

from __future__ import annotations

from torch import nn

from surgeon.selection import Parts

_JOINED = ("qkv", "qkv_proj", "to_qkv", "in_proj", "c_attn")
_QUERY = ("q", "q_proj", "query", "query_proj", "to_q", "wq", "q_lin")
_KEY = ("k", "k_proj", "key", "key_proj", "to_k", "wk", "k_lin")
_VALUE = ("v", "v_proj", "value", "value_proj", "to_v", "wv", "v_lin")
_QUERY_KEY, _KEY_VALUE = ("qk",), ("kv", "kv_proj", "to_kv")
_OUT = ("proj", "out_proj", "o_proj", "proj_out", "to_out", "c_proj", "wo", "out_lin", "output", "out")


def parts_of(module: nn.Module, name: str) -> Parts | None:
    """The layers of an attention module by what they make, as dotted names; None for another module.

    One layer may make several. torch's own attention has its weights itself, but for the projection.

    module: The module. name: Its dotted name.
    """
    if isinstance(module, nn.MultiheadAttention):
        return Parts(projection=f"{name}.out_proj")
    if not module._modules:
        return None

    def child(*groups: tuple[str, ...]) -> str | None:
        names_there = (n for names in groups for n in names if isinstance(module._modules.get(n), nn.Module))
        return next((f"{name}.{n}" for n in names_there), None)

    query = child(_QUERY, _JOINED, _QUERY_KEY)
    key = child(_KEY, _KEY_VALUE, _JOINED, _QUERY_KEY)
    value = child(_VALUE, _KEY_VALUE, _JOINED)
    if not (name and query and key and value):
        return None
    return Parts(query=query, key=key, value=value, projection=child(_OUT))
