#!/bin/sh
# Begin a run, or go on with it where it has begun: deploy/begin.sh RUN_DIR and the flags of launch.py
set -eu
run=$1
shift
if [ -e "$run/config.json" ]; then
  exec flaxmill "$@" --resume "$run"
fi
exec flaxmill "$@" --run_dir "$run"
