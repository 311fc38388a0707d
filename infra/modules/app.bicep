@description('Location of the app.')
param location string

@description('Name of the app.')
param name string

@description('Name of the identity that it runs as.')
param identityName string

@description('Name of the account with the host\'s state and the package.')
param hostAccountName string

@description('Name of the account with the records.')
param dataAccountName string

@description('Name of the account with the audit log.')
param auditAccountName string

@description('Name of the vault.')
param vaultName string

@description('Name of the Application Insights resource.')
param insightsName string

@description('Name of the network that the app joins; empty for none.')
param vnetName string

@description('Whether the public endpoint is open. False leaves the private endpoint, for deployment as well.')
param publicAccess bool

@description('Instances that are never stopped. Billed while idle.')
param alwaysReady int

@description('Whether instances spread over zones.')
param zoneRedundant bool

@description('Tenants whose tokens are taken.')
param tenantIds string[]

@description('Application (client) id of the API\'s registration.')
param apiClientId string

@description('Client applications that may call; empty for any of the tenants\'.')
param allowedClientIds string[]

@description('Purposes that a reveal may name.')
param revealPurposes string[]

@description('Id of the workspace that takes the diagnostics.')
param workspaceId string

var loginEndpoint = environment().authentication.loginEndpoint
// The handler wants https://host without a slash.
var authorityHost = endsWith(loginEndpoint, '/') ? take(loginEndpoint, length(loginEndpoint) - 1) : loginEndpoint
var storageSuffix = environment().suffixes.storage

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = { name: identityName }

resource insights 'Microsoft.Insights/components@2020-02-02' existing = { name: insightsName }

resource subnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' existing = if (!empty(vnetName)) {
  name: '${vnetName}/app'
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: '${name}-plan'
  location: location
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true, zoneRedundant: zoneRedundant }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  kind: 'functionapp,linux'
  tags: { 'azd-service-name': 'api' }
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identity.id}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    virtualNetworkSubnetId: empty(vnetName) ? null : subnet.id
    outboundVnetRouting: empty(vnetName) ? null : { allTraffic: true }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: 'https://${hostAccountName}.blob.${storageSuffix}/package'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identity.id }
        }
      }
      runtime: { name: 'custom', version: '1.0' }
      scaleAndConcurrency: {
        instanceMemoryMB: 2048
        maximumInstanceCount: 40
        alwaysReady: alwaysReady == 0 ? [] : [{ name: 'http', instanceCount: alwaysReady }]
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      cors: { allowedOrigins: [], supportCredentials: false }
    }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: {
      AzureWebJobsStorage__accountName: hostAccountName
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identity.properties.clientId
      DataStorage__queueServiceUri: 'https://${dataAccountName}.queue.${storageSuffix}'
      DataStorage__credential: 'managedidentity'
      DataStorage__clientId: identity.properties.clientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
      TENANT_IDS: join(tenantIds, ',')
      API_CLIENT_ID: apiClientId
      API_APP_ID_URI: ''
      ACCEPT_V1_TOKENS: 'false'
      V1_ISSUER_HOST: ''
      ALLOWED_CLIENT_IDS: join(allowedClientIds, ',')
      AUTHORITY_HOST: authorityHost
      REQUIRED_SCOPE: 'Vault.Access'
      STEP_UP_CONTEXT: 'c1'
      REVEAL_PURPOSES: join(revealPurposes, ',')
      KEY_VAULT_URL: 'https://${vaultName}${environment().suffixes.keyvaultDns}'
      KEY_WRAP_NAME: 'kek'
      KEY_SIGN_NAME: 'sign'
      DATA_STORAGE_ACCOUNT: dataAccountName
      AUDIT_STORAGE_ACCOUNT: auditAccountName
      STORAGE_SUFFIX: storageSuffix
      AZURE_CREDENTIAL: 'managed-identity'
      AZURE_CLIENT_ID: identity.properties.clientId
      IMPORT_REPAIR_AFTER: '2m'
      LOG_LEVEL: 'info'
      WEBSITE_AUTH_AAD_ALLOWED_TENANTS: join(tenantIds, ',')
    }
  }

  // In front of the handler's own validation, never instead of it.
  resource auth 'config' = {
    name: 'authsettingsV2'
    properties: {
      platform: { enabled: true, runtimeVersion: '~1' }
      globalValidation: {
        requireAuthentication: true
        unauthenticatedClientAction: 'Return401'
        excludedPaths: ['/api/v1/health/live', '/api/v1/health/ready']
      }
      httpSettings: { requireHttps: true }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: {
            openIdIssuer: '${authorityHost}/${length(tenantIds) == 1 ? tenantIds[0] : 'organizations'}/v2.0'
            clientId: apiClientId
          }
          validation: {
            allowedAudiences: [apiClientId]
            jwtClaimChecks: empty(allowedClientIds) ? {} : { allowedClientApplications: allowedClientIds }
          }
        }
      }
      login: { tokenStore: { enabled: false } }
    }
    dependsOn: [settings]
  }

  resource noBasicScm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource noBasicFtp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: app
  name: 'to-log-analytics'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'FunctionAppLogs', enabled: true }
      { category: 'AppServiceAuthenticationLogs', enabled: true }
    ]
  }
}
