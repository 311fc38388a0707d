@description('Location of the network.')
param location string

@description('Prefix of every name.')
param prefix string

@description('How the application reaches Entra, Azure Monitor and the extension bundle: a NAT gateway with an address of its own, or the default outbound access of the platform.')
param egress 'nat' | 'default'

@description('Id of the workspace that takes the diagnostics.')
param workspaceId string

var appPrefix = '10.20.0.0/26'
var endpointsPrefix = '10.20.0.64/26'

// What the application calls outside the network. All else is refused.
var outbound = ['AzureActiveDirectory', 'AzureMonitor', 'AzureFrontDoor.FirstParty']

resource appGroup 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: '${prefix}-nsg-app'
  location: location
  properties: {
    securityRules: concat(
      map(range(0, length(outbound)), i => {
        name: 'allow-${toLower(replace(outbound[i], '.', '-'))}'
        properties: {
          priority: 100 + i
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: appPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: outbound[i]
          destinationPortRange: '443'
        }
      }),
      [
        {
          name: 'deny-internet'
          properties: {
            priority: 4096
            direction: 'Outbound'
            access: 'Deny'
            protocol: '*'
            sourceAddressPrefix: '*'
            sourcePortRange: '*'
            destinationAddressPrefix: 'Internet'
            destinationPortRange: '*'
          }
        }
      ]
    )
  }
}

resource endpointsGroup 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: '${prefix}-nsg-endpoints'
  location: location
  properties: {
    securityRules: [
      {
        name: 'allow-network-https'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: endpointsPrefix
          destinationPortRange: '443'
        }
      }
      {
        name: 'deny-all'
        properties: {
          priority: 4096
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource address 'Microsoft.Network/publicIPAddresses@2025-05-01' = if (egress == 'nat') {
  name: '${prefix}-nat-ip'
  location: location
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource nat 'Microsoft.Network/natGateways@2025-05-01' = if (egress == 'nat') {
  name: '${prefix}-nat'
  location: location
  sku: { name: 'Standard' }
  properties: { idleTimeoutInMinutes: 4, publicIpAddresses: [{ id: address.id }] }
}

resource vnet 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: '${prefix}-vnet'
  location: location
  properties: {
    addressSpace: { addressPrefixes: ['10.20.0.0/24'] }
    subnets: [
      {
        // Flex Consumption wants this delegation, /27 or larger, and no underscore in the name.
        name: 'app'
        properties: {
          addressPrefix: appPrefix
          networkSecurityGroup: { id: appGroup.id }
          natGateway: egress == 'nat' ? { id: nat.id } : null
          defaultOutboundAccess: egress == 'default'
          delegations: [{ name: 'flex', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointsPrefix
          networkSecurityGroup: { id: endpointsGroup.id }
          privateEndpointNetworkPolicies: 'Enabled'
          defaultOutboundAccess: false
        }
      }
    ]
  }
}

resource vnetLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vnet
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}

resource appGroupLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: appGroup
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}

resource endpointsGroupLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: endpointsGroup
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}

resource addressLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (egress == 'nat') {
  scope: address
  name: 'to-log-analytics'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}
