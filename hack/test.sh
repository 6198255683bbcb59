#!/usr/bin/env bash
# Runs the tests, those of the operator's own packages with the race detector, and prints
# each suite when it ends and the durations of all suites at the end. The Makefile calls it:
#
#   hack/test.sh 'PACKAGES WITH THE RACE DETECTOR' 'PACKAGES' FLAGS OF GO TEST...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The longest suites start first: one of them that started last would run alone at the end.
# They are listed here and not read from test/README.md, since the others take about a
# minute or less each, so that their order hardly changes the duration. The durations that
# are printed at the end show whether the list is still right.
first='/(controllers|test/e2e/install|test/e2e/helm)$'

# list PACKAGES... prints their import paths.
list() {
	go list "$@" | awk -v first="$first" '{ print ($0 ~ first ? 0 : 1), $0 }' | sort | cut -d ' ' -f 2
}

# shellcheck disable=SC2086 # lists of packages
own=$(list $1)
# shellcheck disable=SC2086
packages=$(list $2)
shift 2
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# run PACKAGES FLAGS... runs the tests of the packages, if there are any. The output is that
# of go test.
run() {
	local packages=$1
	shift
	# shellcheck disable=SC2086
	[[ -z $packages ]] || bin/gotestsum --format standard-quiet -- "$@" $packages 2>&1 |
		{ grep --line-buffered -v '\[no test files\]$' || true; } | tee -a "$log"
}

started=$SECONDS
status=0
CGO_ENABLED=1 run "$(grep -Fx "$own" <<<"$packages" || true)" "$@" -race &
CGO_ENABLED=0 run "$(grep -Fxv "$own" <<<"$packages" || true)" "$@" -trimpath || status=$?
wait $! || status=$?

echo "Seconds of each suite, of $((SECONDS - started)) in all:"
awk '$1 ~ /^(ok|FAIL)$/ && $3 ~ /^[0-9.]+s$/ { printf "%8.1f  %s\n", $3, $2 }' "$log" | sort -rn
exit "$status"
