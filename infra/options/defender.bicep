targetScope = 'subscription'

metadata name = 'Defender for Cloud'
metadata description = 'Plans, contact and continuous export for the whole subscription. Billed for every resource in it: an entry point of its own, run by whoever owns the subscription.'

@description('Region of the export.')
param location string

@description('Resource group of the environment; the export stands in it.')
param resourceGroupName string

@description('Name of the workspace in it that takes alerts and recommendations.')
param workspaceName string

@description('Addresses that are told of alerts.')
@minLength(1)
param emails string[]

@description('Telephone that is told of alerts, with country code; empty for none.')
param phone string = ''

@description('Gigabytes a month and account that are scanned for malware at most; 0 scans none. Billed by the gigabyte.')
@minValue(0)
param malwareScanGb int = 0

@description('Whether posture management (CSPM) is included. Billed by resource.')
param posture bool = false

resource apps 'Microsoft.Security/pricings@2024-01-01' = {
  name: 'AppServices'
  properties: { pricingTier: 'Standard' }
}

resource storage 'Microsoft.Security/pricings@2024-01-01' = {
  name: 'StorageAccounts'
  properties: {
    pricingTier: 'Standard'
    subPlan: 'DefenderForStorageV2'
    extensions: [
      malwareScanGb > 0
        ? {
            name: 'OnUploadMalwareScanning'
            isEnabled: 'True'
            additionalExtensionProperties: { CapGBPerMonthPerStorageAccount: string(malwareScanGb) }
          }
        : { name: 'OnUploadMalwareScanning', isEnabled: 'False' }
      // What rests here is sealed: there is nothing for the discovery to read.
      { name: 'SensitiveDataDiscovery', isEnabled: 'False' }
    ]
  }
  dependsOn: [apps]
}

resource keyVaults 'Microsoft.Security/pricings@2024-01-01' = {
  name: 'KeyVaults'
  properties: { pricingTier: 'Standard', subPlan: 'PerKeyVault' }
  dependsOn: [storage]
}

resource arm 'Microsoft.Security/pricings@2024-01-01' = {
  name: 'Arm'
  properties: { pricingTier: 'Standard', subPlan: 'PerSubscription' }
  dependsOn: [keyVaults]
}

resource cloudPosture 'Microsoft.Security/pricings@2024-01-01' = if (posture) {
  name: 'CloudPosture'
  properties: { pricingTier: 'Standard' }
  dependsOn: [arm]
}

resource contact 'Microsoft.Security/securityContacts@2023-12-01-preview' = {
  name: 'default'
  properties: {
    isEnabled: true
    emails: join(emails, ';')
    phone: empty(phone) ? null : phone
    notificationsByRole: { state: 'On', roles: ['Owner', 'ServiceAdmin'] }
    notificationsSources: [
      { sourceType: 'Alert', minimalSeverity: 'Low' }
      { sourceType: 'AttackPath', minimalRiskLevel: 'High' }
    ]
  }
}

module export '../modules/export.bicep' = {
  scope: resourceGroup(resourceGroupName)
  params: { location: location, workspaceName: workspaceName }
}
