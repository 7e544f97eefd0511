#!/bin/sh
# Builds what users install twice, here and from a copy in another folder that shares no build output, and compares
# the bytes. Exits with 1, after saying which files inside differ, unless all are the same.
set -eu
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
copy=$scratch/a-copy-in-another-folder
second="./bazelw --output_user_root=$scratch/bazel"
finish() {
    (cd "$copy" && $second shutdown) >/dev/null 2>&1 || true
    chmod -R u+w "$scratch"
    rm -rf "$scratch"
}
trap finish EXIT

./bazelw build //:webgpu_target
mkdir "$copy"
git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory="$copy"
(cd "$copy" && $second build //:webgpu_target)

status=0
for built in bazel-bin/pyapi/*.whl bazel-bin/runtime_ts/*.tgz; do
    if cmp "$built" "$copy/$built"; then
        echo "same bytes twice: $(sha256sum "$built")"
    else
        status=1
        for tree in . "$copy"; do
            mkdir "$scratch/unpacked"
            case "$built" in
            *.whl) python3 -m zipfile -e "$tree/$built" "$scratch/unpacked" ;;
            *) tar -xf "$tree/$built" -C "$scratch/unpacked" ;;
            esac
            (cd "$scratch/unpacked" && find . -type f -exec sha256sum {} + | sort -k 2) >>"$scratch/files"
            rm -rf "$scratch/unpacked"
        done
        echo "files that differ in $built:"
        sort "$scratch/files" | uniq -u
        rm "$scratch/files"
    fi
done
exit $status
