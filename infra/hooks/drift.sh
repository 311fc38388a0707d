#!/bin/sh
# Compares what runs with what the templates say, and fails where they differ. It
# changes nothing: Azure Resource Manager makes the comparison (what-if).
#   PROFILE=dev AZURE_LOCATION=westeurope sh infra/hooks/drift.sh
set -eu
profile=${PROFILE:?the profile: dev, prod or regulated}
location=${AZURE_LOCATION:?the region of the deployment}

# Not counted: resources of the subscription that the templates do not know
# (Ignore), and those that what-if cannot compare (Unsupported).
drift=$(az deployment sub what-if --location "$location" --template-file infra/main.bicep \
  --parameters "infra/$profile.bicepparam" --result-format ResourceIdOnly --no-pretty-print \
  --query "changes[?changeType!='NoChange' && changeType!='Ignore' && changeType!='Unsupported'].[changeType, resourceId]" \
  --output tsv)
if [ -n "$drift" ]; then
  echo "differs from the templates:" >&2
  echo "$drift" >&2
  exit 1
fi
echo "no difference"
