#!/bin/sh
# install.sh LOCK: the packages of a lock file into /opt/venv, by hash, the same bytes every time.
# The few that come as source are built by the locked tools, not by whatever an index has today.
set -eu
/opt/tools/bin/pip wheel --no-deps --no-build-isolation --require-hashes --requirement "$1" \
    --wheel-dir /tmp/wheels
sed --quiet 's/^\([^ ]*==.*[^\\ ]\) *\\*$/\1/p' "$1" > /tmp/names
/opt/tools/bin/pip --python /opt/venv/bin/python install --no-deps --no-index --find-links /tmp/wheels \
    --no-compile --requirement /tmp/names
rm -r /tmp/names /tmp/wheels
normalise.sh /opt/venv
