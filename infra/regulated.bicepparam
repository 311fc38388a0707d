using 'main.bicep'

// As prod, with keys in hardware and storage under a key of one's own.
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
param auditRetentionDays = 2555
param logRetentionDays = 365
param monthlyBudget = 1000
// A budget keeps the month in which it was made.
param budgetStart = readEnvironmentVariable('BUDGET_START')
param hsm = true
param customerManagedKey = true
param benchmark = true
