#!/bin/sh
# Runs the staged app under Azure Functions Core Tools, on the local stack's
# backing services. `make start` builds dist/ and bin/devstack first.
#
# The services write .local/handler.env (mode 0600) when they are ready: the
# settings that the handler has in Azure as app settings, as NAME='value' lines.
set -eu
cd "$(dirname "$0")/.."
state=.local
port=${PORT:-7071}

if ! command -v func >/dev/null 2>&1; then
	cat >&2 <<'EOF'
make start: Azure Functions Core Tools (`func`, version 4) is not on PATH.
Install it as Microsoft's documentation of the Core Tools says, or use `make run`:
it needs no Core Tools, and starts the same app under the stand-in of their host.
EOF
	exit 1
fi

rm -f "$state/handler.env"
bin/devstack -no-host -dir "$state" &
stack=$!
host=

# One way out for Ctrl-C, a signal and either process ending. The host goes first:
# the app drains while the services are still there.
finish() {
	code=$?
	trap - EXIT INT TERM
	for child in $host $stack; do
		kill "$child" 2>/dev/null || true
		wait "$child" || true
	done
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

waited=0
until [ -s "$state/handler.env" ]; do
	if ! kill -0 "$stack" 2>/dev/null; then
		echo "make start: the backing services ended before they were ready; see $state/logs/" >&2
		exit 1
	fi
	if [ "$waited" -ge 120 ]; then
		echo "make start: the backing services were not ready after 120 s; see $state/logs/" >&2
		exit 1
	fi
	sleep 1
	waited=$((waited + 1))
done

set -a
# shellcheck disable=SC1090,SC1091 # written by the services a moment ago
. "./$state/handler.env"
set +a
# The host's own storage and the queue trigger: Core Tools speak plain HTTP with
# the emulator's well-known account, which the stack forwards on 10000-10002.
AzureWebJobsStorage=UseDevelopmentStorage=true
DataStorage=UseDevelopmentStorage=true
export AzureWebJobsStorage DataStorage

func start --script-root dist --port "$port" &
host=$!
wait "$host"
