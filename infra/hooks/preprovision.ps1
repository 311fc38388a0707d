# Names everything that is missing before anything is made.
$ErrorActionPreference = 'Stop'
$missing = [System.Collections.Generic.List[string]]::new()

if (-not (Get-Command go -ErrorAction SilentlyContinue)) { $missing.Add('Go, which builds the package') }
foreach ($name in 'AZURE_ENV_NAME', 'AZURE_LOCATION', 'TENANT_IDS', 'API_CLIENT_ID', 'ALERT_EMAILS') {
    if (-not [Environment]::GetEnvironmentVariable($name)) { $missing.Add("${name}: azd env set $name <value>") }
}

if (Get-Command az -ErrorAction SilentlyContinue) {
    foreach ($provider in 'Microsoft.App', 'Microsoft.Web', 'Microsoft.Storage', 'Microsoft.KeyVault', 'Microsoft.Network',
        'Microsoft.ManagedIdentity', 'Microsoft.OperationalInsights', 'Microsoft.Insights') {
        $state = az provider show --namespace $provider --query registrationState --output tsv 2>$null
        if ($state -ne 'Registered') { $missing.Add("provider ${provider}: az provider register --namespace $provider") }
    }
    if ($env:AZURE_LOCATION) {
        $regions = @(az functionapp list-flexconsumption-locations --query '[].name' --output tsv 2>$null)
        if ($regions -notcontains $env:AZURE_LOCATION) { $missing.Add("Flex Consumption in $($env:AZURE_LOCATION): choose another region") }
    }
} else {
    $missing.Add('the Azure CLI, with which providers and regions are checked')
}

foreach ($m in $missing) { [Console]::Error.WriteLine("missing: $m") }
if ($missing.Count -gt 0) { exit 1 }
