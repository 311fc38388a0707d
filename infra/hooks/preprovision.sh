#!/bin/sh
# Names everything that is missing before anything is made.
set -eu

failed=0
missing() {
  echo "missing: $1" >&2
  failed=1
}

command -v go >/dev/null 2>&1 || missing "Go, which builds the package"
[ -n "${AZURE_ENV_NAME:-}" ] || missing "AZURE_ENV_NAME: azd env new <name>"
[ -n "${AZURE_LOCATION:-}" ] || missing "AZURE_LOCATION: azd env set AZURE_LOCATION <region>"
[ -n "${TENANT_IDS:-}" ] || missing "TENANT_IDS: azd env set TENANT_IDS <tenant id>[,<tenant id>]"
[ -n "${API_CLIENT_ID:-}" ] || missing "API_CLIENT_ID: azd env set API_CLIENT_ID <client id of the API's registration>"
[ -n "${ALERT_EMAILS:-}" ] || missing "ALERT_EMAILS: azd env set ALERT_EMAILS <address>[,<address>]"

if command -v az >/dev/null 2>&1; then
  for provider in Microsoft.App Microsoft.Web Microsoft.Storage Microsoft.KeyVault Microsoft.Network \
    Microsoft.ManagedIdentity Microsoft.OperationalInsights Microsoft.Insights; do
    state=$(az provider show --namespace "$provider" --query registrationState --output tsv 2>/dev/null || true)
    [ "$state" = Registered ] || missing "provider $provider: az provider register --namespace $provider"
  done
  if [ -n "${AZURE_LOCATION:-}" ]; then
    az functionapp list-flexconsumption-locations --query "[].name" --output tsv 2>/dev/null |
      grep -qxF "$AZURE_LOCATION" || missing "Flex Consumption in $AZURE_LOCATION: choose another region"
  fi
else
  missing "the Azure CLI, with which providers and regions are checked"
fi
exit "$failed"
