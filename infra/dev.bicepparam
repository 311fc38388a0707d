using 'main.bicep'

// Cheap: public endpoints that want a token, nothing that is billed while idle.
// What has no default here must be set: a deployment with a made-up tenant is none.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param tenantIds = split(readEnvironmentVariable('TENANT_IDS'), ',')
param apiClientId = readEnvironmentVariable('API_CLIENT_ID')
param emails = split(readEnvironmentVariable('ALERT_EMAILS'), ',')
param operatorsGroupId = readEnvironmentVariable('OPERATORS_GROUP_ID', '')
param auditorsGroupId = readEnvironmentVariable('AUDITORS_GROUP_ID', '')
param keyringGroupId = readEnvironmentVariable('KEYRING_GROUP_ID', '')
