using 'sentinel.bicep'

param workspaceName = 'vault-${readEnvironmentVariable('AZURE_ENV_NAME')}-log'
