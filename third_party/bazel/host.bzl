"""The one thing taken from the host: a Python interpreter, 3.11 or newer, with pip."""

_PROBE = "import sys, pip; assert sys.version_info >= (3, 11); print(sys.executable)"

def host_python(repository_ctx):
    """The real path of the host's Python (behind a version manager's shim, too), or a failure that says what to do."""
    for name in ["python3.11", "python3"]:
        program = repository_ctx.which(name)
        if program:
            result = repository_ctx.execute([program, "-c", _PROBE])
            if result.return_code == 0:
                return result.stdout.strip()
    fail("Python 3.11 or newer with pip is needed: run ./bazelw, or `apt-get install python3 python3-pip`")

def cache_folder(repository_ctx):
    """Where downloads are kept between checkouts; Bazel's own cache does not cover what a repository rule runs."""
    env = repository_ctx.os.environ
    return (env.get("XDG_CACHE_HOME") or env.get("HOME", "/tmp") + "/.cache") + "/tvm-webgpu"

def _python_repository(repository_ctx):
    repository_ctx.file("BUILD", "")
    repository_ctx.file("defs.bzl", "PYTHON = %s\n" % repr(host_python(repository_ctx)))

python_repository = repository_rule(implementation = _python_repository, local = True)

def _coverage_stub(repository_ctx):
    repository_ctx.file("BUILD", "filegroup(name = \"coverage_report_generator\", srcs = [], visibility = [\"//visibility:public\"])\n" +
                                 "filegroup(name = \"lcov_merger\", srcs = [], visibility = [\"//visibility:public\"])\n")

# Every test rule asks for Bazel's coverage tools, which it would download; nothing here measures coverage with them.
coverage_stub = repository_rule(implementation = _coverage_stub)
