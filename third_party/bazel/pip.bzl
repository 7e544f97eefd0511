"""Python distributions, as locked: one repository with a target, a directory and a stamp for each."""

load(":host.bzl", "cache_folder", "host_python")

def _pip_repository(repository_ctx):
    script = repository_ctx.path(repository_ctx.attr._script)
    arguments = [host_python(repository_ctx), "-s", script, repository_ctx.path(repository_ctx.attr.lock)]
    arguments += ["--wheelhouse", cache_folder(repository_ctx) + "/wheels"]
    for pattern in repository_ctx.attr.keep:
        arguments += ["--keep", pattern]
    result = repository_ctx.execute(arguments, timeout = 3600, quiet = False)
    if result.return_code:
        fail("the Python distributions of %s could not be brought here" % repository_ctx.attr.lock)

pip_repository = repository_rule(
    implementation = _pip_repository,
    attrs = {
        "lock": attr.label(mandatory = True, doc = "requirements file with exact versions and hashes"),
        "keep": attr.string_list(doc = "`DISTRIBUTION=PREFIX`: of this distribution only paths so beginning are kept"),
        "_script": attr.label(default = "//third_party/bazel:pip_repository.py"),
    },
)
