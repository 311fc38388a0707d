using 'main.bicep'

// Private: no public endpoint but for the monitor's; zones, locks, one warm instance.
// What has no default here must be set: a deployment with a made-up tenant is none.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param tenantIds = split(readEnvironmentVariable('TENANT_IDS'), ',')
param apiClientId = readEnvironmentVariable('API_CLIENT_ID')
param emails = split(readEnvironmentVariable('ALERT_EMAILS'), ',')
param operatorsGroupId = readEnvironmentVariable('OPERATORS_GROUP_ID', '')
param auditorsGroupId = readEnvironmentVariable('AUDITORS_GROUP_ID', '')
param keyringGroupId = readEnvironmentVariable('KEYRING_GROUP_ID', '')

param privateNetwork = true
param privateApp = true
param egress = 'nat'
param zoneRedundant = true
param alwaysReady = 1
param locks = true
param auditRetentionDays = 365
param logRetentionDays = 90
param monthlyBudget = 500
// A budget keeps the month in which it was made.
param budgetStart = readEnvironmentVariable('BUDGET_START')
