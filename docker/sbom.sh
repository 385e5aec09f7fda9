#!/bin/sh
# sbom.sh: what is in /opt/venv and /opt/ctgi, as CycloneDX, without times or serial numbers.
set -eu
cyclonedx-py environment --output-reproducible --output-file /opt/ctgi/sbom.cdx.json /opt/venv/bin/python
touch --date=@315532800 /opt/ctgi/sbom.cdx.json /opt/ctgi
