"""WGSL functions that invert matrices, which WGSL has no builtin for: size and component suffix in, text out."""

# Laplace expansion by pairs of lines: the minors of the first two and of the last two.
_MINORS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
# Of each element of the inverse: the line it takes from, and (column, minor, sign) of its three terms.
_COFACTORS = (
    ((1, "c", ((1, 5), (2, 4), (3, 3)), 1), (0, "c", ((1, 5), (2, 4), (3, 3)), -1),
     (3, "s", ((1, 5), (2, 4), (3, 3)), 1), (2, "s", ((1, 5), (2, 4), (3, 3)), -1)),
    ((1, "c", ((0, 5), (2, 2), (3, 1)), -1), (0, "c", ((0, 5), (2, 2), (3, 1)), 1),
     (3, "s", ((0, 5), (2, 2), (3, 1)), -1), (2, "s", ((0, 5), (2, 2), (3, 1)), 1)),
    ((1, "c", ((0, 4), (1, 2), (3, 0)), 1), (0, "c", ((0, 4), (1, 2), (3, 0)), -1),
     (3, "s", ((0, 4), (1, 2), (3, 0)), 1), (2, "s", ((0, 4), (1, 2), (3, 0)), -1)),
    ((1, "c", ((0, 3), (1, 1), (2, 0)), -1), (0, "c", ((0, 3), (1, 1), (2, 0)), 1),
     (3, "s", ((0, 3), (1, 1), (2, 0)), -1), (2, "s", ((0, 3), (1, 1), (2, 0)), 1)),
)  # fmt: skip


def inverse(name: str, size: int, suffix: str) -> str:
    """The function ``name`` that inverts a square matrix; of a singular one it gives infinities, as GLSL does."""
    type = f"mat{size}x{size}{suffix}"
    return f"fn {name}(m: {type}) -> {type} {{\n{_BODIES[size](type, suffix)}}}\n"


def _two(type: str, suffix: str) -> str:
    return f"  return {type}(m[1].y, -m[0].y, -m[1].x, m[0].x) * (1{suffix} / determinant(m));\n"


def _three(type: str, suffix: str) -> str:
    rows = "cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])"
    return f"  return transpose({type}({rows})) * (1{suffix} / determinant(m));\n"


def _four(type: str, suffix: str) -> str:
    lines = []
    for letter, (a, b) in (("s", (0, 1)), ("c", (2, 3))):
        for i, (j, k) in enumerate(_MINORS):
            lines.append(f"  let {letter}{i} = m[{a}][{j}] * m[{b}][{k}] - m[{b}][{j}] * m[{a}][{k}];\n")
    lines.append("  let size = s0 * c5 - s1 * c4 + s2 * c3 + s3 * c2 - s4 * c1 + s5 * c0;\n")
    elements = []
    for row in _COFACTORS:
        for line, letter, terms, sign in row:
            first, second, third = (f"m[{line}][{column}] * {letter}{minor}" for column, minor in terms)
            elements.append(f"{first} - {second} + {third}" if sign > 0 else f"{second} - {first} - {third}")
    inner = ",\n    ".join(elements)
    return "".join(lines) + f"  return {type}(\n    {inner},\n  ) * (1{suffix} / size);\n"


_BODIES = {2: _two, 3: _three, 4: _four}
