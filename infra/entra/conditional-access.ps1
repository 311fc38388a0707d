# Makes authentication context c1, and a policy that asks for fresh phishing-resistant
# sign-in where the API wants that context. The policy only reports; switching it on is
# a decision of its own. Safe to repeat: a policy of this name is left as it is.
#
# Needs the Azure CLI, signed in as a Conditional Access administrator, and Entra ID P1.
# BREAK_GLASS_GROUP_ID names the group of the accounts that no policy may lock out.
$ErrorActionPreference = 'Stop'
$PSNativeCommandArgumentPassing = 'Standard'
$graph = 'https://graph.microsoft.com/v1.0/identity/conditionalAccess'
$name = 'secureapi: fresh sign-in for c1'
$BREAK_GLASS_GROUP_ID = $env:BREAK_GLASS_GROUP_ID

if (-not $BREAK_GLASS_GROUP_ID) { throw 'missing: BREAK_GLASS_GROUP_ID, object id of the group that no policy may lock out' }
if (-not (Get-Command az -ErrorAction SilentlyContinue)) { throw 'missing: the Azure CLI' }

$found = az rest --method get --url "https://graph.microsoft.com/v1.0/groups/$BREAK_GLASS_GROUP_ID" --query id --output tsv
if ($found -ne $BREAK_GLASS_GROUP_ID) { throw 'missing: a group of this id; nothing was made' }

az rest --method patch --url "$graph/authenticationContextClassReferences/c1" --headers Content-Type=application/json --body '{"displayName":"Fresh sign-in","description":"Restricted values and approvals","isAvailable":true}'
if ($LASTEXITCODE -ne 0) { throw 'the context was not made' }

$policies = az rest --method get --url "$graph/policies" --query "value[?displayName=='$name'].id" --output tsv
if ($LASTEXITCODE -ne 0) { throw 'the policies could not be read' }
if ($policies) { Write-Output "There is a policy of this name ($policies); it was left as it is."; exit 0 }

az rest --method post --url "$graph/policies" --headers Content-Type=application/json --body ('{"displayName":"' + $name + '","state":"enabledForReportingButNotEnforced","conditions":{"clientAppTypes":["all"],"applications":{"includeAuthenticationContextClassReferences":["c1"]},"users":{"includeUsers":["All"],"excludeGroups":["' + $BREAK_GLASS_GROUP_ID + '"]}},"grantControls":{"operator":"OR","authenticationStrength":{"id":"00000000-0000-0000-0000-000000000004"}},"sessionControls":{"signInFrequency":{"isEnabled":true,"frequencyInterval":"everyTime","authenticationType":"primaryAndSecondaryAuthentication"}}}')
if ($LASTEXITCODE -ne 0) { throw 'the policy was not made' }
Write-Output 'The policy reports and enforces nothing. Read its report for a week before switching it on.'
