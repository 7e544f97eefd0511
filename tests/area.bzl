"""One call declares the tests of an area, the folder tests/NAME."""

load("//third_party/bazel:python.bzl", "pytest_tests")

_NOT_DATA = ["**/__pycache__/**", "**/.*", "**/.*/**", "**/test_*.py"]

def test_area(name, deps, also = [], data = [], env_files = {}, node = False, **kwargs):
    """A target for each tests/NAME/test_*.py and a suite of them, `//tests:NAME`.

    Args:
      name: the folder.
      deps: what the tests may import: the part that they test, and none of the others.
      also: other areas whose files, though not tests, these tests use.
      data: other files.
      env_files: a file to the variable that names its path.
      node: whether the tests start node.
      **kwargs: passed on to pytest_tests.
    """
    variables = {":vulkan/lavapipe_shim.json": "VK_DRIVER_FILES"}
    variables.update(env_files)
    pytest_tests(
        name = name,
        srcs = native.glob([name + "/test_*.py"], allow_empty = True),
        data = data + native.glob(
            ["*.py", "*.mjs"] + [folder + "/**" for folder in [name, "models"] + also],
            exclude = _NOT_DATA,
        ) + ["vulkan/liblavapipe_shim.so"],
        env_files = variables,
        node_modules = "@npm//:node_modules" if node else None,
        deps = deps,
        **kwargs
    )
