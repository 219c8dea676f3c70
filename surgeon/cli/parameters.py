"""Values of options that click has no type for: sizes, fractions, pairs."""

from __future__ import annotations

from typing import Any

import click


class Size(click.ParamType):
    """C,H,W (or C,T,H,W for video), as in 3,224,224."""

    name = "C,H,W"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            size = tuple(int(v) for v in str(value).replace("x", ",").split(","))
        except ValueError:
            size = ()
        if len(size) not in (3, 4) or min(size, default=0) < 1:
            self.fail(f"{value!r} is not a size; write for instance 3,32,32", param, ctx)
        if size[-1] in (1, 3) and min(size[:-1]) > 4:
            first = ",".join(map(str, (size[-1], *size[:-1])))
            self.fail(f"{value!r} has the channels at its end; they come first: {first}", param, ctx)
        return size


class Fraction(click.ParamType):
    """A number, or a fraction such as 8/255."""

    name = "NUMBER"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from surgeon.quantities import number

        try:
            parsed = float(number(value))
        except ValueError:
            parsed = -1.0
        if not parsed >= 0:
            self.fail(f"{value!r} is not a size; write for instance 8/255 or 0.5", param, ctx)
        return parsed


class Channels(click.ParamType):
    """One number per channel, as in 0.4914,0.4822,0.4465; a number may be a fraction such as 125/255."""

    name = "NUMBER,…"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        from surgeon.quantities import number

        try:
            return tuple(float(number(part.strip())) for part in str(value).split(","))
        except ValueError:
            self.fail(
                f"{value!r} is not one number per channel; write for instance 0.485,0.456,0.406", param, ctx
            )


class Pair(click.ParamType):
    """key=value, the value read as YAML."""

    name = "KEY=VALUE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} must look like key=value", param, ctx)
        from surgeon import strict_yaml
        from surgeon.strict import shown

        try:
            return key, strict_yaml.load(text)
        except strict_yaml.YamlError as error:
            self.fail(f"the value of {shown(value)} cannot be read as YAML: {error.reason}", param, ctx)
