@description('Location of the identities.')
param location string

@description('Name of the application identity.')
param appName string

@description('Name of the identity with which storage reads its customer-managed key.')
param storageName string

@description('Whether storage has a customer-managed key.')
param customerManagedKey bool

resource app 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: appName
  location: location
}

// A second identity: whoever runs code as the application must not gain the key of the storage service.
resource storage 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = if (customerManagedKey) {
  name: storageName
  location: location
}
