"""Sums of four float32 at once in compiled loops, which numba's own optimiser computes one by one."""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, register_model

_LANE = ir.IntType(32)
_REGISTER = ir.VectorType(ir.FloatType(), 4)


class FourFloats(types.Type):
    """Numba's type of four values in one register."""

    def __init__(self) -> None:
        super().__init__("FourFloats")


@register_model(FourFloats)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: FourFloats) -> None:
        super().__init__(manager, fe_type, _REGISTER)  # type: ignore[no-untyped-call]


_four_floats = FourFloats()


def _four(_: Any, a: types.Float, b: types.Float, c: types.Float, d: types.Float) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        register = ir.Constant(_REGISTER, ir.Undefined)
        for lane, value in enumerate(arguments):
            register = builder.insert_element(register, value, ir.Constant(_LANE, lane))
        return register

    return _four_floats(a, b, c, d), generate


def _each(_: Any, values: FourFloats) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = [builder.extract_element(arguments[0], ir.Constant(_LANE, lane)) for lane in range(4)]
        return context.make_tuple(builder, signature.return_type, lanes)

    return types.UniTuple(types.float32, 4)(values), generate  # type: ignore[no-untyped-call]


def _load(_: Any, array: types.Array, row: types.Integer) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, arguments), align=4, typ=_REGISTER)

    return _four_floats(array, row), generate


def _store(_: Any, array: types.Array, row: types.Integer, values: FourFloats) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, row, values), generate


def _add_scaled(_: Any, values: FourFloats, factor: types.Float, others: FourFloats) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, scalar, second = arguments
        undefined = ir.Constant(_REGISTER, ir.Undefined)
        scale = builder.insert_element(undefined, scalar, ir.Constant(_LANE, 0))
        scales = builder.shuffle_vector(scale, undefined, ir.Constant(ir.VectorType(_LANE, 4), [0] * 4))
        return builder.fadd(first, builder.fmul(scales, second))

    return _four_floats(values, types.float32, others), generate


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Where the first value of a row is."""
    array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
    row = context.cast(builder, arguments[1], signature.args[1], types.uintp)
    first = builder.gep(array.data, [builder.mul(row, ir.Constant(row.type, 4))])
    return builder.bitcast(first, _REGISTER.as_pointer())


four: Any = intrinsic(_four)
"""four(a, b, c, d): four values together."""

each: Any = intrinsic(_each)
"""each(values): the four values as a tuple."""

load_four: Any = intrinsic(_load)
"""load_four(array, row): a row, counted from 0 and unchecked, of a contiguous float32 array (N, 4)."""

store_four: Any = intrinsic(_store)
"""store_four(array, row, values): write such a row."""

add_scaled: Any = intrinsic(_add_scaled)
"""add_scaled(values, factor, others): values + factor * others."""
