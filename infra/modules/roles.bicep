@description('Name of the identity that the app runs as.')
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

@description('Group that runs the service; empty for none.')
param operatorsGroupId string

@description('Group that reads the audit log; empty for none.')
param auditorsGroupId string

@description('Group that makes the first keyring; empty for none. Take its members out afterwards.')
param keyringGroupId string

var blobOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var blobContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var queueContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var tableContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var cryptoServiceEncryptionUser = 'e147488a-f6f5-4113-8e2d-b22465e65bf6'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = { name: identityName }

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = { name: hostAccountName }

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: dataAccountName
  resource tableService 'tableServices' existing = {
    name: 'default'
    resource keyring 'tables' existing = { name: 'keyring' }
  }
}

resource audit 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: auditAccountName
  resource blobService 'blobServices' existing = {
    name: 'default'
    resource checkpoints 'containers' existing = { name: 'checkpoints' }
  }
  resource tableService 'tableServices' existing = {
    name: 'default'
    resource log 'tables' existing = { name: 'audit' }
    resource erasures 'tables' existing = { name: 'erasures' }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = { name: insightsName }

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
  resource kek 'keys' existing = { name: 'kek' }
  resource sign 'keys' existing = { name: 'sign' }
}

// Key Vault Crypto User could also sign, but updates and backs up keys as well.
resource signer 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'signer')
  properties: {
    roleName: 'Vault signer (${resourceGroup().name})'
    description: 'Reads the public part of a key and signs with it.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        dataActions: [
          'Microsoft.KeyVault/vaults/keys/read'
          'Microsoft.KeyVault/vaults/keys/sign/action'
        ]
      }
    ]
  }
}

// Storage Blob Data Contributor could also delete, and change the container itself.
// What is written cannot be overwritten either: the container's policy sees to it.
resource checkpointer 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'checkpointer')
  properties: {
    roleName: 'Vault checkpointer (${resourceGroup().name})'
    description: 'Reads and writes blobs, and deletes none.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        dataActions: [
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'
        ]
      }
    ]
  }
}

resource operator 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'operator')
  properties: {
    roleName: 'Vault operator (${resourceGroup().name})'
    description: 'Reads the state of the app and its telemetry, and restarts it. No settings, no keys, no data.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Web/sites/read'
          'Microsoft.Web/sites/restart/action'
          'Microsoft.Web/sites/functions/read'
          'Microsoft.Insights/*/read'
          'Microsoft.OperationalInsights/workspaces/read'
          'Microsoft.OperationalInsights/workspaces/query/read'
          'Microsoft.Resources/subscriptions/resourceGroups/read'
        ]
      }
    ]
  }
}

resource auditor 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'auditor')
  properties: {
    roleName: 'Vault auditor (${resourceGroup().name})'
    description: 'Reads audit entries and checkpoints, and the public key that verifies them.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        dataActions: [
          'Microsoft.Storage/storageAccounts/tableServices/tables/entities/read'
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'
          'Microsoft.KeyVault/vaults/keys/read'
        ]
      }
    ]
  }
}

// Whom the vault has erased is never forgotten: no deleting.
resource registrar 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'registrar')
  properties: {
    roleName: 'Vault registrar (${resourceGroup().name})'
    description: 'Reads, adds and updates rows of the register of erasures.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        dataActions: [
          'Microsoft.Storage/storageAccounts/tableServices/tables/entities/read'
          'Microsoft.Storage/storageAccounts/tableServices/tables/entities/add/action'
          'Microsoft.Storage/storageAccounts/tableServices/tables/entities/update/action'
        ]
      }
    ]
  }
}

resource appOnHost 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: host
  name: guid(host.id, identityName, blobOwner)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobOwner)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'The Functions host: leases of timers, the package.'
  }
}

resource appOnData 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in [blobContributor, queueContributor, tableContributor]: {
    scope: data
    name: guid(data.id, identityName, role)
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
      principalId: identity.properties.principalId
      principalType: 'ServicePrincipal'
      description: 'Records, imports and their queue.'
    }
  }
]

// Streams that are sealed leave the list of open ones, so entities are deleted too;
// that no entry is lost is what the checkpoints prove.
resource appOnAuditLog 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: audit::tableService::log
  name: guid(audit::tableService::log.id, identityName, tableContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableContributor)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'The audit log.'
  }
}

resource appOnErasures 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: audit::tableService::erasures
  name: guid(audit::tableService::erasures.id, identityName, registrar.name)
  properties: {
    roleDefinitionId: registrar.id
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'The register of erasures.'
  }
}

resource appOnCheckpoints 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: audit::blobService::checkpoints
  name: guid(audit::blobService::checkpoints.id, identityName, checkpointer.name)
  properties: {
    roleDefinitionId: checkpointer.id
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'Checkpoints of the audit log, written once.'
  }
}

resource appOnInsights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, identityName, metricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'Telemetry with a token.'
  }
}

resource appOnKek 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault::kek
  name: guid(vault::kek.id, identityName, cryptoServiceEncryptionUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cryptoServiceEncryptionUser)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'Wraps and unwraps root keys with this one key.'
  }
}

resource appOnSign 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault::sign
  name: guid(vault::sign.id, identityName, signer.name)
  properties: {
    roleDefinitionId: signer.id
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'Signs keyring rows and checkpoints with this one key.'
  }
}

resource operatorsOnGroup 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsGroupId)) {
  name: guid(resourceGroup().id, operatorsGroupId, operator.name)
  properties: { roleDefinitionId: operator.id, principalId: operatorsGroupId, principalType: 'Group' }
}

resource auditorsOnAudit 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(auditorsGroupId)) {
  scope: audit
  name: guid(audit.id, auditorsGroupId, auditor.name)
  properties: { roleDefinitionId: auditor.id, principalId: auditorsGroupId, principalType: 'Group' }
}

resource auditorsOnSign 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(auditorsGroupId)) {
  scope: vault::sign
  name: guid(vault::sign.id, auditorsGroupId, auditor.name)
  properties: { roleDefinitionId: auditor.id, principalId: auditorsGroupId, principalType: 'Group' }
}

resource keyringOnTable 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyringGroupId)) {
  scope: data::tableService::keyring
  name: guid(data::tableService::keyring.id, keyringGroupId, tableContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableContributor)
    principalId: keyringGroupId
    principalType: 'Group'
  }
}

resource keyringOnKek 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyringGroupId)) {
  scope: vault::kek
  name: guid(vault::kek.id, keyringGroupId, cryptoServiceEncryptionUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cryptoServiceEncryptionUser)
    principalId: keyringGroupId
    principalType: 'Group'
  }
}

resource keyringOnSign 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(keyringGroupId)) {
  scope: vault::sign
  name: guid(vault::sign.id, keyringGroupId, signer.name)
  properties: { roleDefinitionId: signer.id, principalId: keyringGroupId, principalType: 'Group' }
}
