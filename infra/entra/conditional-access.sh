#!/bin/sh
# Makes authentication context c1, and a policy that asks for fresh phishing-resistant
# sign-in where the API wants that context. The policy only reports; switching it on is
# a decision of its own. Safe to repeat: a policy of this name is left as it is.
#
# Needs the Azure CLI, signed in as a Conditional Access administrator, and Entra ID P1.
# BREAK_GLASS_GROUP_ID names the group of the accounts that no policy may lock out.
set -eu
graph=https://graph.microsoft.com/v1.0/identity/conditionalAccess
name='secureapi: fresh sign-in for c1'

if [ -z "${BREAK_GLASS_GROUP_ID:-}" ]; then echo 'missing: BREAK_GLASS_GROUP_ID, object id of the group that no policy may lock out' >&2; exit 1; fi
command -v az >/dev/null 2>&1 || { echo 'missing: the Azure CLI' >&2; exit 1; }

found=$(az rest --method get --url "https://graph.microsoft.com/v1.0/groups/$BREAK_GLASS_GROUP_ID" --query id --output tsv || true)
if [ "$found" != "$BREAK_GLASS_GROUP_ID" ]; then echo 'missing: a group of this id; nothing was made' >&2; exit 1; fi

az rest --method patch --url "$graph/authenticationContextClassReferences/c1" --headers Content-Type=application/json --body '{"displayName":"Fresh sign-in","description":"Restricted values and approvals","isAvailable":true}'

policies=$(az rest --method get --url "$graph/policies" --query "value[?displayName=='$name'].id" --output tsv)
if [ -n "$policies" ]; then echo "There is a policy of this name ($policies); it was left as it is."; exit 0; fi

az rest --method post --url "$graph/policies" --headers Content-Type=application/json --body '{"displayName":"'"$name"'","state":"enabledForReportingButNotEnforced","conditions":{"clientAppTypes":["all"],"applications":{"includeAuthenticationContextClassReferences":["c1"]},"users":{"includeUsers":["All"],"excludeGroups":["'"$BREAK_GLASS_GROUP_ID"'"]}},"grantControls":{"operator":"OR","authenticationStrength":{"id":"00000000-0000-0000-0000-000000000004"}},"sessionControls":{"signInFrequency":{"isEnabled":true,"frequencyInterval":"everyTime","authenticationType":"primaryAndSecondaryAuthentication"}}}'
echo 'The policy reports and enforces nothing. Read its report for a week before switching it on.'
