"""Files of one Debian package, unpacked without being installed."""

load(":host.bzl", "cache_folder")

_SCRIPT = """set -eu
cache=$1 package=$2 version=$3 hash=$4
mkdir -p "$cache"
file=$cache/$hash.deb
if ! echo "$hash  $file" | sha256sum --check --status 2>/dev/null; then
    work=$(mktemp -d "$cache/download.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # As root, apt would drop to a user who can't write here.
    (cd "$work" && apt-get download -q -o APT::Sandbox::User=root "$package=$version" >&2)
    echo "$hash  $(echo "$work"/*.deb)" | sha256sum --check --quiet
    mv "$work"/*.deb "$file"
fi
dpkg-deb -x "$file" root
"""

def _deb_repository(repository_ctx):
    attrs = repository_ctx.attr
    result = repository_ctx.execute(
        ["sh", "-c", _SCRIPT, "deb", cache_folder(repository_ctx) + "/debs", attrs.package, attrs.version, attrs.sha256],
        timeout = 600,
        quiet = False,
    )
    if result.return_code:
        fail("Debian's package %s %s could not be brought here; `apt-get update` may help" % (attrs.package, attrs.version))
    repository_ctx.file("BUILD", "filegroup(name = \"files\", srcs = %s, visibility = [\"//visibility:public\"])\n" % [
        "root/" + path
        for path in attrs.files
    ])

deb_repository = repository_rule(
    implementation = _deb_repository,
    attrs = {
        "package": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "sha256": attr.string(mandatory = True),
        "files": attr.string_list(mandatory = True, doc = "paths inside the package"),
    },
)
