@description('Region of the export.')
param location string

@description('Name of the workspace that takes it.')
param workspaceName string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = { name: workspaceName }

resource export 'Microsoft.Security/automations@2023-12-01-preview' = {
  name: 'ExportToWorkspace'
  location: location
  properties: {
    isEnabled: true
    description: 'Alerts and recommendations of Defender for Cloud, as they come.'
    scopes: [{ description: 'This subscription', scopePath: subscription().id }]
    sources: [
      { eventSource: 'Alerts', ruleSets: [] }
      { eventSource: 'Assessments', ruleSets: [] }
      { eventSource: 'SecureScores', ruleSets: [] }
    ]
    actions: [{ actionType: 'Workspace', workspaceResourceId: workspace.id }]
  }
}
