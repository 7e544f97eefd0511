"""SPIR-V's debug names in; valid, unique and readable WGSL identifiers out."""

import re

_KEYWORDS = """
alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let loop
override requires return struct switch true var while
NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become binding_array cast catch
class co_await co_return co_yield coherent column_major common compile compile_fragment concept const_cast consteval
constexpr constinit crate debugger decltype delete demote demote_to_helper do dynamic_cast enum explicit export extends
extern external fallthrough filter final finally friend from fxgroup get goto groupshared highp impl implements import
inline instanceof interface layout lowp macro macro_rules match mediump meta mod module move mut mutable namespace new
nil noexcept noinline nointerpolation non_coherent noncoherent noperspective null nullptr of operator package packoffset
partition pass patch pixelfragment precise precision premerge priv protected pub public readonly ref regardless register
reinterpret_cast require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std
subroutine super target template this thread_local throw trait try type typedef typeid typename typeof union unless
unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield
"""
# Predeclared names that the text may use: a shadowed one would change meaning.
_PREDECLARED = """
array atomic bool f16 f32 i32 u32 ptr vec2 vec3 vec4 abs acos acosh all any arrayLength asin asinh atan atan2 atanh
atomicAdd atomicAnd atomicCompareExchangeWeak atomicExchange atomicLoad atomicMax atomicMin atomicOr atomicStore
atomicSub atomicXor bitcast ceil clamp cos cosh countLeadingZeros countOneBits countTrailingZeros cross degrees
determinant distance dot dot4I8Packed dot4U8Packed exp exp2 extractBits faceForward firstLeadingBit firstTrailingBit
floor fma fract frexp insertBits inverseSqrt ldexp length log log2 max min mix modf normalize pack2x16float
pack2x16snorm pack2x16unorm pack4x8snorm pack4x8unorm pow quantizeToF16 radians reflect refract reverseBits round
saturate select sign sin sinh smoothstep sqrt step storageBarrier tan tanh transpose trunc unpack2x16float
unpack2x16snorm unpack2x16unorm unpack4x8snorm unpack4x8unorm workgroupBarrier workgroupUniformLoad subgroupAdd
subgroupAll subgroupAny subgroupAnd subgroupBallot subgroupBroadcast subgroupBroadcastFirst subgroupElect
subgroupExclusiveAdd subgroupExclusiveMul subgroupInclusiveAdd subgroupInclusiveMul subgroupMax subgroupMin subgroupMul
subgroupOr subgroupShuffle subgroupShuffleDown subgroupShuffleUp subgroupShuffleXor subgroupXor quadBroadcast
quadSwapDiagonal quadSwapX quadSwapY function private workgroup uniform storage read write read_write
"""
_ALIASES = {f"vec{n}{s}" for n in (2, 3, 4) for s in "iufh"}
_MATRICES = {f"mat{c}x{r}{s}" for c in (2, 3, 4) for r in (2, 3, 4) for s in ("", "f", "h")}
RESERVED = frozenset(_KEYWORDS.split()) | frozenset(_PREDECLARED.split()) | _ALIASES | _MATRICES
MAX_LENGTH = 64


def sanitise(name: str) -> str:
    """A WGSL identifier like ``name``; empty if nothing of it is left."""
    text = re.sub(r"[^A-Za-z0-9_]+", "_", name.split("(")[0]).strip("_")[:MAX_LENGTH].rstrip("_")
    return f"_{text}" if text[:1].isdigit() else text


class Names:
    """Hands out identifiers that are unique here and in the enclosing ``outer``."""

    def __init__(self, outer: "Names | None" = None):
        self.outer = outer
        self.used: set[str] = set()
        self.inner: set[str] = set()  # names given out in enclosed scopes: an outer one made later must not be hidden
        self.next: dict[str, int] = {}

    def taken(self, name: str) -> bool:
        if name in RESERVED or name in self.used or name in self.inner:
            return True
        return self.outer is not None and self.outer.hides(name)

    def hides(self, name: str) -> bool:
        """Whether the name means something in this scope."""
        return name in self.used

    def _use(self, name: str) -> str:
        self.used.add(name)
        if self.outer is not None:
            self.outer.inner.add(name)
        return name

    def make(self, wanted: str, fallback: str = "v") -> str:
        """A free identifier: the sanitised ``wanted``, with a number behind it if that is taken or empty."""
        base = sanitise(wanted)
        if base and not self.taken(base):
            return self._use(base)
        base = base or fallback
        count = self.next.get(base, 0)
        while True:
            count += 1
            name = f"{base}_{count}" if base[-1].isdigit() or sanitise(wanted) else f"{base}{count}"
            if not self.taken(name):
                break
        self.next[base] = count
        return self._use(name)
