@description('Location of the vault.')
param location string

@description('Name of the vault.')
@minLength(3)
@maxLength(24)
param name string

@description('Whether keys live in a hardware security module: the premium vault.')
param hsm bool

@description('Whether the vault holds the key of the storage accounts.')
param customerManagedKey bool

@description('Name of the identity with which storage reads this key.')
param storageIdentityName string

@description('Whether the public endpoint is open to callers with a token. False leaves private endpoints only.')
param publicAccess bool

@description('Whether a lock keeps the vault from being deleted.')
param lock bool

@description('Id of the workspace that takes the diagnostics.')
param workspaceId string

var rotation = {
  attributes: { expiryTime: 'P1Y' }
  lifetimeActions: [
    { action: { type: 'rotate' }, trigger: { timeAfterCreate: 'P10M' } }
    { action: { type: 'notify' }, trigger: { timeBeforeExpiry: 'P30D' } }
  ]
}
var cryptoServiceEncryptionUser = 'e147488a-f6f5-4113-8e2d-b22465e65bf6'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: name
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: hsm ? 'premium' : 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    // Storage reads its key past the firewall, as a trusted service. Nobody else does.
    networkAcls: {
      defaultAction: publicAccess ? 'Allow' : 'Deny'
      bypass: customerManagedKey ? 'AzureServices' : 'None'
    }
  }
}

// The policy of the vault makes new versions; the application only adopts them.
resource kek 'Microsoft.KeyVault/vaults/keys@2025-05-01' = {
  parent: vault
  name: 'kek'
  properties: {
    kty: hsm ? 'RSA-HSM' : 'RSA'
    keySize: 3072
    keyOps: ['wrapKey', 'unwrapKey']
    attributes: { enabled: true, exportable: false }
    rotationPolicy: rotation
  }
}

// No rotation: every keyring row and checkpoint names the version that signed it, and
// a new version is a decision with a runbook.
resource sign 'Microsoft.KeyVault/vaults/keys@2025-05-01' = {
  parent: vault
  name: 'sign'
  properties: {
    kty: hsm ? 'EC-HSM' : 'EC'
    curveName: 'P-256'
    keyOps: ['sign', 'verify']
    attributes: { enabled: true, exportable: false }
  }
}

resource storageKey 'Microsoft.KeyVault/vaults/keys@2025-05-01' = if (customerManagedKey) {
  parent: vault
  name: 'storage'
  properties: {
    kty: hsm ? 'RSA-HSM' : 'RSA'
    keySize: 3072
    keyOps: ['wrapKey', 'unwrapKey']
    attributes: { enabled: true, exportable: false }
    rotationPolicy: rotation
  }
}

resource storageIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = if (customerManagedKey) {
  name: storageIdentityName
}

// Here and not with the other roles: the accounts cannot be made before it.
resource storageOnKey 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (customerManagedKey) {
  scope: storageKey
  name: guid(storageKey.id, storageIdentityName, cryptoServiceEncryptionUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cryptoServiceEncryptionUser)
    #disable-next-line BCP318 // both stand under the same condition
    principalId: storageIdentity.properties.principalId
    principalType: 'ServicePrincipal'
    description: 'Storage wraps the keys of the accounts.'
  }
}

resource vaultLock 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  scope: vault
  name: 'do-not-delete'
  properties: { level: 'CanNotDelete', notes: 'Without these keys the stored values are lost.' }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: [{ category: 'AuditEvent', enabled: true }] }
}
