#!/usr/bin/env bash
# Writes a release to $DIST. It is reproducible: anyone can build it from the sources
# and compare SHA256SUMS. `make release` calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${VERSION:?}" "${IMAGE:?}" "${DIST:?}" "${KUSTOMIZE:?}"

if [[ ! $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "VERSION is \"$VERSION\", which is not a version such as 0.1.0 or 0.1.0-rc.1: make release VERSION=0.1.0" >&2
	exit 2
fi
# An earlier release is replaced: SHA256SUMS and the files that it lists.
others=$(ls -A "$DIST" 2>/dev/null | grep -vxF -f <(echo SHA256SUMS && cut -c67- "$DIST/SHA256SUMS" 2>/dev/null) || true)
if [[ -n $others ]]; then
	echo "$DIST has files that do not belong to a release, such as ${others%%$'\n'*}: set another DIST, or empty it." >&2
	exit 2
fi
# Go records the commit and its tag in the binaries, unless there is no git repository.
if [[ -e .git ]]; then
	if [[ -f .git ]]; then
		echo "Go does not find the commit in a linked worktree: build the release in a clone." >&2
		exit 2
	fi
	if [[ -n $(git status --porcelain) ]]; then
		echo "There are uncommitted changes: commit or stash them." >&2
		git status --short >&2
		exit 2
	fi
	if ! git tag --points-at HEAD | grep -qxF "v$VERSION"; then
		echo "The commit has no tag v$VERSION: git tag v$VERSION" >&2
		exit 2
	fi
fi
mkdir -p dist
work=$(mktemp -d "$PWD/dist/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Everything is written here first, and moved to $DIST once it is complete.
new=$work/release
mkdir "$new"

# The time of all files is that of the commit, or the Unix epoch without git.
written=$(TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo 1970-01-01T00:00:00Z)

make --no-print-directory image plugin DIST="$new"

# $1 is a directory of config/, $2 the file to write.
render() {
	mkdir "$work/$2"
	(cd "$work/$2" && "$KUSTOMIZE" create --resources "../../../config/$1" &&
		"$KUSTOMIZE" edit set image "docker.io/seldon-operator/seldon-operator=$IMAGE:$VERSION")
	"$KUSTOMIZE" build "$work/$2" >"$new/$2"
}
echo "Rendering the manifests"
render crd crds.yaml
render default install.yaml
render namespaced install-namespaced.yaml

shopt -s nullglob
for chart in charts/*/; do
	echo "Packaging $chart"
	cp -RL "$chart" "$work/"
	# Helm records the times of the files in the package.
	find "$work/$(basename "$chart")" -exec touch -d "$written" {} +
	"$HELM" package --version "$VERSION" --app-version "$VERSION" --destination "$new" "$work/$(basename "$chart")"
done

(cd "$new" && LC_ALL=C && sha256sum -- * >SHA256SUMS)
mkdir -p "$DIST"
rm -f "$DIST"/*
mv "$new"/* "$DIST"
echo "Wrote $DIST:"
cat "$DIST/SHA256SUMS"
