@description('What gets a private endpoint.')
type Target = {
  @description('Short name, part of the endpoint\'s name.')
  name: string

  @description('Id of the resource.')
  resourceId: string

  @description('Sub-resource of it.')
  groupId: 'blob' | 'queue' | 'table' | 'vault' | 'sites'
}

@description('Location of the endpoints.')
param location string

@description('Prefix of every name.')
param prefix string

@description('What gets an endpoint.')
param targets Target[]

var zoneNames = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  vault: 'privatelink.vaultcore.azure.net'
  sites: 'privatelink.azurewebsites.net'
}
var groups = union(map(targets, t => t.groupId), [])

resource vnet 'Microsoft.Network/virtualNetworks@2025-05-01' existing = {
  name: '${prefix}-vnet'
  resource endpoints 'subnets' existing = { name: 'endpoints' }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for g in groups: {
    name: zoneNames[g]
    location: 'global'
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (g, i) in groups: {
    parent: zones[i]
    name: '${prefix}-${g}'
    location: 'global'
    properties: { registrationEnabled: false, virtualNetwork: { id: vnet.id } }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for t in targets: {
    name: '${prefix}-pe-${t.name}'
    location: location
    properties: {
      subnet: { id: vnet::endpoints.id }
      privateLinkServiceConnections: [
        #disable-next-line use-resource-id-functions // the id is a field of a typed parameter
        { name: t.name, properties: { privateLinkServiceId: t.resourceId, groupIds: [t.groupId] } }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (t, i) in targets: {
    parent: endpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        { name: t.groupId, properties: { privateDnsZoneId: zones[indexOf(groups, t.groupId)].id } }
      ]
    }
  }
]
