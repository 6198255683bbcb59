#!/usr/bin/env bash
# Runs the tests, those of the operator's own packages with the race detector, and prints
# the duration of each suite at the end. The Makefile calls it:
#
#   hack/test.sh 'PACKAGES WITH THE RACE DETECTOR' 'PACKAGES' go test FLAGS...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck disable=SC2086 # lists of packages
own=$(go list $1 | sort)
# shellcheck disable=SC2086
packages=$(go list $2 | sort)
shift 2
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# run PACKAGES COMMAND... runs the command on the packages, if there are any.
run() {
	local packages=$1
	shift
	# shellcheck disable=SC2086
	[[ -z $packages ]] || "$@" $packages 2>&1 | { grep --line-buffered -v '\[no test files\]$' || true; } | tee -a "$log"
}

started=$SECONDS
status=0
CGO_ENABLED=1 run "$(comm -12 <(echo "$packages") <(echo "$own"))" "$@" -race &
CGO_ENABLED=0 run "$(comm -23 <(echo "$packages") <(echo "$own"))" "$@" -trimpath || status=$?
wait $! || status=$?

echo "Seconds of each suite, of $((SECONDS - started)) in all:"
awk '$1 ~ /^(ok|FAIL)$/ && $3 ~ /^[0-9.]+s$/ { printf "%8.1f  %s\n", $3, $2 }' "$log" | sort -rn
exit "$status"
