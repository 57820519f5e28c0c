#!/bin/sh
# Dagster's webserver and daemon over $SAND_HOME; files are writable for the group.
set -eu
umask 002
export DAGSTER_HOME="$SAND_HOME/dagster"
mkdir -p "$DAGSTER_HOME"
python -c "from sand_dagster.home import sand_home; from sand_dagster.jobs.instance import prepare; prepare(sand_home())"
exec dagster dev --workspace "$(dirname "$0")/../workspace.yaml" --host 127.0.0.1 --port "${SAND_PORT:-3000}"
