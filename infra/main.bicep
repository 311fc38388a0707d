targetScope = 'subscription'

metadata name = 'Tokenization API'
metadata description = 'The whole deployment of one environment: one resource group, and what the subscription must hold for it.'

@description('Name of the environment; part of every name.')
@minLength(2)
@maxLength(10)
param environmentName string

@description('Region of every resource. It must offer Flex Consumption.')
param location string

@description('Tenants whose tokens are taken.')
@minLength(1)
param tenantIds string[]

@description('Application (client) id of the API\'s registration.')
@minLength(36)
@maxLength(36)
param apiClientId string

@description('Client applications that may call; empty for any of the tenants\'.')
param allowedClientIds string[] = []

@description('Purposes that a reveal may name.')
@minLength(1)
param revealPurposes string[] = ['fraud-review', 'customer-support', 'legal-obligation']

@description('Origins of browser apps that may call, each https://host. Empty: CORS is off.')
param corsAllowedOrigins string[] = []

@description('Addresses that are told of alerts and of spend.')
@minLength(1)
param emails string[]

@description('Telephones that are told of alerts. Billed by message.')
param phones { countryCode: string, phoneNumber: string }[] = []

@description('Object id of the group that runs the service; empty for none.')
param operatorsGroupId string = ''

@description('Object id of the group that reads the audit log; empty for none.')
param auditorsGroupId string = ''

@description('Object id of the group that makes the first keyring; empty for none.')
param keyringGroupId string = ''

@description('Whether storage and vault are reached by private endpoints only. Endpoints are billed by the hour.')
param privateNetwork bool = false

@description('Whether the app too is reached by a private endpoint only. Deployment then needs a runner inside the network.')
param privateApp bool = false

@description('Way out of the private network. The NAT gateway is billed by the hour.')
param egress 'nat' | 'default' = 'default'

@description('Whether keys live in a hardware security module. Billed by key and month.')
param hsm bool = false

@description('Whether storage is encrypted with a key of the vault.')
param customerManagedKey bool = false

@description('Whether storage and instances spread over zones. Costs more.')
param zoneRedundant bool = false

@description('Instances that are never stopped. Billed while idle.')
@minValue(0)
@maxValue(20)
param alwaysReady int = 0

@description('Whether locks keep vault, data and audit from being deleted. They block `azd down` as well.')
param locks bool = false

@description('Days for which checkpoints of the audit log can be neither changed nor deleted.')
@minValue(1)
@maxValue(3650)
param auditRetentionDays int = 1

@description('Days for which logs are kept. Billed from the 32nd day, telemetry from the 91st.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs a day after which no more are taken; -1 for no limit.')
param logDailyQuotaGb int = -1

@description('Amount a month after which the addresses are told, in the billing currency; 0 for no budget.')
@minValue(0)
param monthlyBudget int = 0

@description('First day of the first month of the budget, such as 2026-12-01. A budget that is there keeps its own.')
param budgetStart string = ''

@description('Whether the Microsoft cloud security benchmark is assigned to the whole subscription.')
param benchmark bool = false

var prefix = 'vault-${environmentName}'
var suffix = take(uniqueString(subscription().subscriptionId, environmentName, location), 8)
var compact = toLower(replace(environmentName, '-', ''))
var names = {
  app: '${prefix}-${suffix}'
  identity: '${prefix}-id'
  storageIdentity: '${prefix}-id-storage'
  host: 'st${compact}host${suffix}'
  data: 'st${compact}data${suffix}'
  audit: 'st${compact}audt${suffix}'
  vault: 'kv-${compact}-${suffix}'
  insights: '${prefix}-appi'
  vnet: '${prefix}-vnet'
}
var groupName = 'rg-${prefix}'
var groupId = subscriptionResourceId('Microsoft.Resources/resourceGroups', groupName)
var workspaceId = '${groupId}/providers/Microsoft.OperationalInsights/workspaces/${prefix}-log'
var storageSku = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: groupName
  location: location
  tags: { 'azd-env-name': environmentName }
}

module monitor 'modules/monitor.bicep' = {
  scope: group
  params: {
    location: location
    prefix: prefix
    retentionDays: logRetentionDays
    dailyQuotaGb: logDailyQuotaGb
  }
}

module activity 'modules/activity.bicep' = {
  params: {
    prefix: prefix
    resourceGroupName: groupName
    workspaceId: workspaceId
    monthlyBudget: monthlyBudget
    budgetStart: budgetStart
    emails: emails
    benchmark: benchmark
  }
  dependsOn: [monitor]
}

module identities 'modules/identities.bicep' = {
  scope: group
  params: {
    location: location
    appName: names.identity
    storageName: names.storageIdentity
    customerManagedKey: customerManagedKey
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  scope: group
  params: { location: location, prefix: prefix, egress: egress, workspaceId: workspaceId }
  dependsOn: [monitor]
}

module vault 'modules/vault.bicep' = {
  scope: group
  params: {
    location: location
    name: names.vault
    hsm: hsm
    customerManagedKey: customerManagedKey
    storageIdentityName: names.storageIdentity
    publicAccess: !privateNetwork
    lock: locks
    workspaceId: workspaceId
  }
  dependsOn: [monitor, identities]
}

module hostStorage 'modules/storage.bicep' = {
  scope: group
  params: {
    location: location
    name: names.host
    sku: storageSku
    containers: ['package']
    publicAccess: !privateNetwork
    keyVaultName: customerManagedKey ? names.vault : ''
    keyIdentityName: names.storageIdentity
    lock: false
    workspaceId: workspaceId
  }
  dependsOn: [vault]
}

module dataStorage 'modules/storage.bicep' = {
  scope: group
  params: {
    location: location
    name: names.data
    sku: storageSku
    containers: ['imports']
    // A result is kept for seven days after the import's end, which a pause can delay.
    deleteBlobsAfterDays: 30
    queues: ['imports', 'imports-poison']
    tables: ['records', 'operations', 'keyring', 'revocations']
    publicAccess: !privateNetwork
    keyVaultName: customerManagedKey ? names.vault : ''
    keyIdentityName: names.storageIdentity
    lock: locks
    workspaceId: workspaceId
  }
  dependsOn: [vault]
}

module auditStorage 'modules/storage.bicep' = {
  scope: group
  params: {
    location: location
    name: names.audit
    sku: storageSku
    tables: ['audit', 'erasures']
    writeOnce: { name: 'checkpoints', days: auditRetentionDays }
    publicAccess: !privateNetwork
    keyVaultName: customerManagedKey ? names.vault : ''
    keyIdentityName: names.storageIdentity
    lock: locks
    workspaceId: workspaceId
  }
  dependsOn: [vault]
}

module roles 'modules/roles.bicep' = {
  scope: group
  params: {
    identityName: names.identity
    hostAccountName: names.host
    dataAccountName: names.data
    auditAccountName: names.audit
    vaultName: names.vault
    insightsName: names.insights
    operatorsGroupId: operatorsGroupId
    auditorsGroupId: auditorsGroupId
    keyringGroupId: keyringGroupId
  }
  dependsOn: [hostStorage, dataStorage, auditStorage]
}

module app 'modules/app.bicep' = {
  scope: group
  params: {
    location: location
    name: names.app
    identityName: names.identity
    hostAccountName: names.host
    dataAccountName: names.data
    auditAccountName: names.audit
    vaultName: names.vault
    insightsName: names.insights
    vnetName: privateNetwork ? names.vnet : ''
    publicAccess: !privateApp
    alwaysReady: alwaysReady
    zoneRedundant: zoneRedundant
    tenantIds: tenantIds
    apiClientId: apiClientId
    allowedClientIds: allowedClientIds
    revealPurposes: revealPurposes
    corsAllowedOrigins: corsAllowedOrigins
    workspaceId: workspaceId
  }
  dependsOn: [roles, network]
}

var providers = '${groupId}/providers'
var dataEndpoints = [
  { name: 'host-blob', resourceId: '${providers}/Microsoft.Storage/storageAccounts/${names.host}', groupId: 'blob' }
  { name: 'data-blob', resourceId: '${providers}/Microsoft.Storage/storageAccounts/${names.data}', groupId: 'blob' }
  { name: 'data-queue', resourceId: '${providers}/Microsoft.Storage/storageAccounts/${names.data}', groupId: 'queue' }
  { name: 'data-table', resourceId: '${providers}/Microsoft.Storage/storageAccounts/${names.data}', groupId: 'table' }
  { name: 'audit-blob', resourceId: '${providers}/Microsoft.Storage/storageAccounts/${names.audit}', groupId: 'blob' }
  { name: 'audit-table', resourceId: '${providers}/Microsoft.Storage/storageAccounts/${names.audit}', groupId: 'table' }
  { name: 'vault', resourceId: '${providers}/Microsoft.KeyVault/vaults/${names.vault}', groupId: 'vault' }
]
var appEndpoints = [
  { name: 'app', resourceId: '${providers}/Microsoft.Web/sites/${names.app}', groupId: 'sites' }
]

module endpoints 'modules/endpoints.bicep' = if (privateNetwork) {
  scope: group
  params: {
    location: location
    prefix: prefix
    targets: privateApp ? concat(dataEndpoints, appEndpoints) : dataEndpoints
  }
  dependsOn: [network, app]
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  params: {
    location: location
    prefix: prefix
    appName: names.app
    accountNames: [names.host, names.data, names.audit]
    vaultName: names.vault
    emails: emails
    phones: phones
  }
  dependsOn: [monitor, app]
}

@description('Resource group of the environment.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Vault, for the keyring step.')
output KEY_VAULT_URL string = 'https://${names.vault}${environment().suffixes.keyvaultDns}'

@description('Account with the keyring, for the keyring step.')
output DATA_STORAGE_ACCOUNT string = names.data

@description('Account with the audit log.')
output AUDIT_STORAGE_ACCOUNT string = names.audit

@description('Name of the app.')
output AZURE_FUNCTION_NAME string = names.app

@description('Whether vault and storage are reached from inside the network only.')
output PRIVATE_NETWORK bool = privateNetwork

@description('Address of the API.')
output API_URL string = app.outputs.url
