@description('Location of the account.')
param location string

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Redundancy.')
param sku 'Standard_LRS' | 'Standard_ZRS'

@description('Blob containers.')
param containers string[] = []

@description('Days after which a blob of the containers is deleted; 0 keeps them.')
@minValue(0)
param deleteBlobsAfterDays int = 0

@description('Queues.')
param queues string[] = []

@description('Tables.')
param tables string[] = []

@description('A container whose blobs can be made once and neither changed nor deleted for that many days. None when empty.')
param writeOnce { name: string, days: int }?

@description('Whether the public endpoint is open to callers with a token. False leaves private endpoints only.')
param publicAccess bool

@description('Name of the vault whose key `storage` encrypts the account; empty for a key that Microsoft manages.')
param keyVaultName string

@description('Name of the identity that reads this key.')
param keyIdentityName string

@description('Whether a lock keeps the account from being deleted.')
param lock bool

@description('Id of the workspace that takes the diagnostics.')
param workspaceId string

var customerManagedKey = !empty(keyVaultName)

resource keyIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: keyIdentityName
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  kind: 'StorageV2'
  sku: { name: sku }
  identity: customerManagedKey
    ? { type: 'UserAssigned', userAssignedIdentities: { '${keyIdentity.id}': {} } }
    : { type: 'None' }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    allowedCopyScope: 'AAD'
    defaultToOAuthAuthentication: true
    isLocalUserEnabled: false
    isSftpEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: { defaultAction: publicAccess ? 'Allow' : 'Deny', bypass: 'None' }
    // No key signs a SAS here; one that a user's token signs ends within the hour.
    sasPolicy: { expirationAction: 'Block', sasExpirationPeriod: '00.01:00:00' }
    encryption: {
      requireInfrastructureEncryption: true
      keySource: customerManagedKey ? 'Microsoft.Keyvault' : 'Microsoft.Storage'
      identity: customerManagedKey ? { userAssignedIdentity: keyIdentity.id } : null
      keyvaultproperties: customerManagedKey
        ? { keyvaulturi: 'https://${keyVaultName}${environment().suffixes.keyvaultDns}', keyname: 'storage' }
        : null
      services: {
        blob: { enabled: true, keyType: 'Account' }
        file: { enabled: true, keyType: 'Account' }
        // Only settable when the account is made: else both stay outside a customer-managed key for ever.
        queue: { enabled: true, keyType: 'Account' }
        table: { enabled: true, keyType: 'Account' }
      }
    }
  }
}

resource blob 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }
}

resource blobContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for c in containers: {
    parent: blob
    name: c
    properties: { publicAccess: 'None' }
  }
]

resource writeOnceContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = if (writeOnce != null) {
  parent: blob
  name: writeOnce.?name ?? 'none'
  properties: { publicAccess: 'None' }
}

// Made unlocked: a template cannot lock it. Locking is a step of its own, and final (infra/README.md).
resource writeOncePolicy 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2025-06-01' = if (writeOnce != null) {
  parent: writeOnceContainer
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: writeOnce.?days ?? 1
    allowProtectedAppendWrites: false
    allowProtectedAppendWritesAll: false
  }
}

// What a crash leaves over in a container is sealed under a key that is destroyed; here it goes as well.
resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = if (deleteBlobsAfterDays > 0) {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'delete-leftovers'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: map(containers, c => '${c}/') }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: deleteBlobsAfterDays } } }
          }
        }
      ]
    }
  }
  dependsOn: [blob]
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource accountQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for q in queues: {
    parent: queue
    name: q
  }
]

resource table 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource accountTables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = [
  for t in tables: {
    parent: table
    name: t
  }
]

resource accountLock 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  scope: account
  name: 'do-not-delete'
  properties: { level: 'CanNotDelete', notes: 'Tables have no soft delete.' }
}

var logs = [
  { category: 'StorageRead', enabled: true }
  { category: 'StorageWrite', enabled: true }
  { category: 'StorageDelete', enabled: true }
]

resource blobLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: blob
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: logs }
}

resource queueLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: queue
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: logs }
}

resource tableLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: table
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: logs }
}
