using 'defender.bicep'

param location = readEnvironmentVariable('AZURE_LOCATION')
param resourceGroupName = 'rg-vault-${readEnvironmentVariable('AZURE_ENV_NAME')}'
param workspaceName = 'vault-${readEnvironmentVariable('AZURE_ENV_NAME')}-log'
param emails = split(readEnvironmentVariable('ALERT_EMAILS'), ',')
