#!/usr/bin/env bash
# Runs every fuzz target of the packages for FUZZTIME, one after the other, and prints
# each with its result. A target that fails writes its input to testdata/fuzz in its
# package: commit it, so that every later test run uses it.
set -euo pipefail

targets=$(go test -vet=off -list '^Fuzz' "$@" | awk '
	/^Fuzz/ { found[++n] = $1 }
	$1 == "ok" { for (i = 1; i <= n; i++) print $2, found[i]; n = 0 }')
[ -n "$targets" ] || { echo "No fuzz targets in $*."; exit 1; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
while read -r package target; do
	if go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "$package" >"$log" 2>&1 </dev/null; then
		echo "ok    $package $target: $(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
	else
		echo "FAIL  $package $target"
		cat "$log"
		failed=1
	fi
done <<<"$targets"
exit $failed
