#!/usr/bin/env bash
# Writes a release to $DIST: all of it follows from the sources, so that whoever
# has them can make it again and compare SHA256SUMS. `make release` calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${VERSION:?}" "${IMAGE:?}" "${DIST:?}" "${KUSTOMIZE:?}"

if [[ ! $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "VERSION is \"$VERSION\"; give one such as 0.1.0 or 0.1.0-rc.1: make release VERSION=0.1.0" >&2
	exit 2
fi
# An earlier release is replaced: SHA256SUMS and the files that it names.
others=$(ls -A "$DIST" 2>/dev/null | grep -vxF -f <(echo SHA256SUMS && cut -c67- "$DIST/SHA256SUMS" 2>/dev/null) || true)
if [[ -n $others ]]; then
	echo "$DIST holds something else than a release, such as ${others%%$'\n'*}: give another DIST, or empty it." >&2
	exit 2
fi
# Go writes the commit and its tag into the programs; without git there is none.
if [[ -e .git ]]; then
	if [[ -f .git ]]; then
		echo "Go does not see the commit in a linked worktree: make the release in a clone." >&2
		exit 2
	fi
	if [[ -n $(git status --porcelain) ]]; then
		echo "There are changes that are not committed: commit them, or put them aside." >&2
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
# All of it is written before any of it is where it goes to.
new=$work/release
mkdir "$new"

# Of the commit, as every time in a release. Without git, the first that tar can tell.
written=$(TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo 1970-01-01T00:00:00Z)

make --no-print-directory image DIST="$new"

# $1 is a folder of config/, $2 the file to write.
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
	# Helm writes the times of the files into the package.
	find "$work/$(basename "$chart")" -exec touch -d "$written" {} +
	"$HELM" package --version "$VERSION" --app-version "$VERSION" --destination "$new" "$work/$(basename "$chart")"
done

(cd "$new" && LC_ALL=C && sha256sum -- * >SHA256SUMS)
mkdir -p "$DIST"
rm -f "$DIST"/*
mv "$new"/* "$DIST"
echo "Wrote $DIST:"
cat "$DIST/SHA256SUMS"
