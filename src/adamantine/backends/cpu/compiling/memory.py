"""Addresses as arrays, and tuples of arrays by element, inside compiled code.

Numba gives every tuple length its own type, so the functions here unroll by recursion: the
compiled loop has one plain load and store for each tensor of a rule, whatever their number.
"""

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from adamantine.backends.cpu.compiling.decorators import overloads
from adamantine.backends.cpu.compiling.elements import read, write


def _pointer_to(element):
    @intrinsic
    def pointer(typingctx, address):
        signature = types.CPointer(element)(types.int64)

        def codegen(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return signature, codegen

    return pointer


float32_pointer = _pointer_to(types.float32)
float64_pointer = _pointer_to(types.float64)
uint8_pointer = _pointer_to(types.uint8)
int16_pointer = _pointer_to(types.int16)
uint16_pointer = _pointer_to(types.uint16)
int32_pointer = _pointer_to(types.int32)
int64_pointer = _pointer_to(types.int64)


def _prefetch_into(locality):
    def codegen(context, builder, signature, arguments):
        line, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [line], ir.FunctionType(ir.VoidType(), [line, i32, i32, i32])
        )
        for_reading, data = ir.Constant(i32, 0), ir.Constant(i32, 1)
        where = builder.inttoptr(arguments[0], line)
        builder.call(function, [where, for_reading, ir.Constant(i32, locality), data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at `address`; harmless whatever is there, mapped or not."""
    return _prefetch_into(3)


@intrinsic
def prefetch_into_l2(typingctx, address):
    """The same, into the second-level cache: for more lines than the first can wait for."""
    return _prefetch_into(2)


@intrinsic
def pointer_like(typingctx, address, sample):
    """The address as a pointer to values of the type of `sample`."""
    signature = types.CPointer(sample)(types.int64, sample)

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, codegen


@intrinsic(prefer_literal=True)
def tuple_at(typingctx, address, length, sample, number):
    """`length` values of the type of `sample` that begin at `address`, as a tuple of `number`s."""
    signature = types.UniTuple(number, length.literal_value)(address, length, sample, number)

    def codegen(context, builder, signature, arguments):
        kept = types.CPointer(sample)
        pointer = builder.inttoptr(arguments[0], context.get_value_type(kept))
        return _gathered(context, builder, signature.return_type, pointer, sample, 1)

    return signature, codegen


@intrinsic(prefer_literal=True)
def column_at(typingctx, address, place, rows, columns, number):
    """Of a float64 matrix of `rows` by `columns`, the column at `place` as a tuple of `number`s.

    Loops over places are vectorised, since all rows are at known distances of one address.
    """
    signature = types.UniTuple(number, rows.literal_value)(address, place, rows, columns, number)

    def codegen(context, builder, signature, arguments):
        pointer = _place_in_matrix(context, builder, arguments)
        return _gathered(
            context, builder, signature.return_type, pointer, types.float64, columns.literal_value
        )

    return signature, codegen


@intrinsic(prefer_literal=True)
def store_column(typingctx, address, place, columns, values):
    """Write `values` into the column of such a matrix, which has a row for each of them."""

    def codegen(context, builder, signature, arguments):
        pointer = _place_in_matrix(context, builder, arguments)
        for row, value in enumerate(cgutils.unpack_tuple(builder, arguments[3])):
            number = context.cast(builder, value, values[row], types.float64)
            offset = ir.Constant(ir.IntType(64), row * columns.literal_value)
            builder.store(number, builder.gep(pointer, [offset]))
        return context.get_dummy_value()

    return types.void(address, place, columns, values), codegen


def _place_in_matrix(context, builder, arguments):
    address, place, *_ = arguments
    kept = context.get_value_type(types.CPointer(types.float64))
    return builder.gep(builder.inttoptr(address, kept), [place])


def _gathered(context, builder, result, pointer, sample, step):
    """A tuple of what stands at `pointer`, and every `step` values of its type further on."""
    values = []
    for position in range(result.count):
        offset = ir.Constant(ir.IntType(64), position * step)
        value = builder.load(builder.gep(pointer, [offset]))
        values.append(context.cast(builder, value, sample, result.dtype))
    return context.make_tuple(builder, result, values)


def addresses_at(addresses, samples, offset):
    """The addresses of elements `offset` further on.

    `samples` are values of their types, or tuples that begin with one; or one value for all.
    """
    raise NotImplementedError("only inside compiled code")


@overloads(addresses_at)
def _addresses_at(addresses, samples, offset):
    if len(addresses) == 0:
        return lambda addresses, samples, offset: ()
    if not isinstance(samples, types.BaseTuple):
        size = samples.bitwidth // 8
        return lambda addresses, samples, offset: (
            (addresses[0] + size * offset,) + addresses_at(addresses[1:], samples, offset)
        )
    first = samples[0][0] if isinstance(samples[0], types.BaseTuple) else samples[0]
    size = first.bitwidth // 8
    return lambda addresses, samples, offset: (
        (addresses[0] + size * offset,) + addresses_at(addresses[1:], samples[1:], offset)
    )


def arrays_at(addresses, samples, offset, length):
    """An array of `length` elements at each address, `offset` further on.

    `samples` are values of their types; or one value for all.
    """
    raise NotImplementedError("only inside compiled code")


@overloads(arrays_at)
def _arrays_at(addresses, samples, offset, length):
    if len(addresses) == 0:
        return lambda addresses, samples, offset, length: ()
    if not isinstance(samples, types.BaseTuple):
        size = samples.bitwidth // 8
        return lambda addresses, samples, offset, length: (
            (carray(pointer_like(addresses[0] + size * offset, samples), length),)
            + arrays_at(addresses[1:], samples, offset, length)
        )
    size = samples[0].bitwidth // 8
    return lambda addresses, samples, offset, length: (
        (carray(pointer_like(addresses[0] + size * offset, samples[0]), length),)
        + arrays_at(addresses[1:], samples[1:], offset, length)
    )


def load(arrays, i):
    """Element `i` of every array."""
    raise NotImplementedError("only inside compiled code")


@overloads(load)
def _load(arrays, i):
    if len(arrays) == 0:
        return lambda arrays, i: ()
    return lambda arrays, i: (read(arrays[0], i),) + load(arrays[1:], i)


def store(arrays, i, values):
    """Write one value into element `i` of every array."""
    raise NotImplementedError("only inside compiled code")


@overloads(store)
def _store(arrays, i, values):
    if len(arrays) == 0:
        return lambda arrays, i, values: None

    def implementation(arrays, i, values):
        write(arrays[0], i, values[0])
        store(arrays[1:], i, values[1:])

    return implementation
