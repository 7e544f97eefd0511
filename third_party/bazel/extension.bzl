"""The repositories as a module extension: loaded by MODULE.bazel only, since Bazel 4 has none."""

load(":repositories.bzl", "module_repositories")

def _dependencies(_module_ctx):
    module_repositories()

dependencies = module_extension(implementation = _dependencies)
