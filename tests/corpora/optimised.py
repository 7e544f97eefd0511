"""Other forms of a module that mean the same: random passes of spirv-opt, in a process of their own, since some crash.

    PYTHONPATH=pyapi python tests/corpora/optimised.py PASS... < module.spv > optimised.spv
"""

import random
import subprocess
import sys

from tvm_webgpu import spirv_tools

TIME_LIMIT = 20.0  # seconds; some passes do not end
PASSES = [
    "--ccp", "--cfg-cleanup", "--code-sink", "--combine-access-chains", "--compact-ids",
    "--convert-local-access-chains", "--copy-propagate-arrays", "--eliminate-dead-branches",
    "--eliminate-dead-code-aggressive", "--eliminate-dead-const", "--eliminate-dead-functions",
    "--eliminate-dead-inserts", "--eliminate-dead-members", "--eliminate-local-single-block",
    "--eliminate-local-single-store", "--fix-storage-class", "--flatten-decorations", "--fold-spec-const-op-composite",
    "--freeze-spec-const", "--if-conversion", "--inline-entry-points-exhaustive", "--local-redundancy-elimination",
    "--loop-fission", "--loop-fusion=8", "--loop-invariant-code-motion", "--loop-peeling", "--loop-unroll",
    "--loop-unroll-partial=3", "--loop-unswitch", "--merge-blocks", "--merge-return", "--private-to-local",
    "--redundancy-elimination", "--reduce-load-size", "--scalar-replacement=100", "--simplify-instructions",
    "--ssa-rewrite", "--strength-reduction", "--strip-debug", "--unify-const", "--vector-dce", "--wrap-opkill",
]  # fmt: skip


def choose(dice: random.Random) -> list[str]:
    """Some passes, or one of the optimiser's own lists."""
    if dice.random() < 0.3:
        return [dice.choice(("-O", "-Os"))]
    return dice.choices(PASSES, k=dice.choice((1, 2, 4, 8, 16)))


def optimised(spirv: bytes, passes: list[str]) -> bytes | None:
    """The module after these passes; None where spirv-opt fails, or makes one that is not valid."""
    command = [sys.executable, __file__, *passes]
    try:
        made = subprocess.run(command, input=spirv, capture_output=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return None
    return made.stdout if made.returncode == 0 else None


def main() -> None:
    environment = "vulkan1.3"
    made = spirv_tools.optimize(sys.stdin.buffer.read(), sys.argv[1:], environment)
    spirv_tools.validate(made, environment)
    sys.stdout.buffer.write(made)


if __name__ == "__main__":
    main()
