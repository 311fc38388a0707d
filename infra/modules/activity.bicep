targetScope = 'subscription'

@description('Prefix of every name.')
param prefix string

@description('Name of the resource group that the budget watches.')
param resourceGroupName string

@description('Id of the workspace that takes the activity log.')
param workspaceId string

@description('Amount a month, in the billing currency; 0 for no budget.')
param monthlyBudget int

@description('First day of the first month of the budget, such as 2026-12-01.')
param budgetStart string

@description('Addresses that are told of spend.')
param emails string[]

@description('Whether the Microsoft cloud security benchmark is assigned to the subscription.')
param benchmark bool

resource activity 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: '${prefix}-activity'
  properties: {
    workspaceId: workspaceId
    logs: [
      for c in ['Administrative', 'Security', 'Alert', 'Policy', 'ServiceHealth', 'ResourceHealth']: {
        category: c
        enabled: true
      }
    ]
  }
}

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = if (monthlyBudget > 0) {
  name: '${prefix}-monthly'
  properties: {
    category: 'Cost'
    amount: monthlyBudget
    timeGrain: 'Monthly'
    timePeriod: { startDate: budgetStart }
    filter: { dimensions: { name: 'ResourceGroupName', operator: 'In', values: [resourceGroupName] } }
    notifications: {
      actual80: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
      }
      forecast100: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
      }
    }
  }
}

resource benchmarkAssignment 'Microsoft.Authorization/policyAssignments@2025-03-01' = if (benchmark) {
  name: '${prefix}-mcsb'
  properties: {
    displayName: 'Microsoft cloud security benchmark'
    policyDefinitionId: tenantResourceId(
      'Microsoft.Authorization/policySetDefinitions',
      '1f3afdf9-d0c9-4c3d-847f-89da613e70a8'
    )
    enforcementMode: 'Default'
  }
}
