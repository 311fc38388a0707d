@description('Location of the rules.')
param location string

@description('Prefix of every name.')
param prefix string

@description('Name of the app.')
param appName string

@description('Accounts whose availability is watched.')
param accountNames string[]

@description('Vault whose availability is watched.')
param vaultName string

@description('Addresses that are told.')
param emails string[]

@description('Telephones that are told.')
param phones { countryCode: string, phoneNumber: string }[]

resource app 'Microsoft.Web/sites@2025-03-01' existing = { name: appName }

resource accounts 'Microsoft.Storage/storageAccounts@2025-06-01' existing = [for a in accountNames: { name: a }]

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = { name: vaultName }

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = { name: '${prefix}-log' }

// One row is enough to fire: thresholds stand in the queries, where the workbook shows them too.
var queries = [
  { name: 'audit-broken', severity: 0, text: loadTextContent('../queries/audit-broken.kql') }
  { name: 'audit-unsealed', severity: 1, text: loadTextContent('../queries/audit-unsealed.kql') }
  { name: 'denied-callers', severity: 2, text: loadTextContent('../queries/denied-callers.kql') }
  { name: 'key-changed', severity: 0, text: loadTextContent('../queries/key-changed.kql') }
  { name: 'keyring-refused', severity: 0, text: loadTextContent('../queries/keyring-refused.kql') }
  { name: 'poison-message', severity: 2, text: loadTextContent('../queries/poison-message.kql') }
  { name: 'queue-age', severity: 2, text: loadTextContent('../queries/queue-age.kql') }
  { name: 'reveal-spike', severity: 1, text: loadTextContent('../queries/reveal-spike.kql') }
  { name: 'security-alarm', severity: 0, text: loadTextContent('../queries/security-alarm.kql') }
  { name: 'telemetry-dropped', severity: 2, text: loadTextContent('../queries/telemetry-dropped.kql') }
  { name: 'vault-denied', severity: 1, text: loadTextContent('../queries/vault-denied.kql') }
]

// What an attacker with rights would change first.
var operations = {
  account: 'Microsoft.Storage/storageAccounts/write'
  'alert-rule': 'Microsoft.Insights/scheduledQueryRules/delete'
  'app-settings': 'Microsoft.Web/sites/config/write'
  diagnostics: 'Microsoft.Insights/diagnosticSettings/delete'
  lock: 'Microsoft.Authorization/locks/delete'
  'network-rule': 'Microsoft.Network/networkSecurityGroups/securityRules/write'
  policy: 'Microsoft.Authorization/policyAssignments/write'
  role: 'Microsoft.Authorization/roleAssignments/write'
  'role-definition': 'Microsoft.Authorization/roleDefinitions/write'
  team: 'Microsoft.Insights/actionGroups/write'
  vault: 'Microsoft.KeyVault/vaults/write'
}

resource team 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${prefix}-team'
  location: 'global'
  properties: {
    groupShortName: 'vault'
    enabled: true
    emailReceivers: [for (e, i) in emails: { name: 'mail-${i}', emailAddress: e, useCommonAlertSchema: true }]
    smsReceivers: [for (p, i) in phones: { name: 'sms-${i}', countryCode: p.countryCode, phoneNumber: p.phoneNumber }]
  }
}

resource logAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for q in queries: {
    name: '${prefix}-${q.name}'
    location: location
    kind: 'LogAlert'
    properties: {
      displayName: q.name
      description: 'Runbook: docs/runbooks/${q.name}.md'
      severity: q.severity
      enabled: true
      scopes: [workspace.id]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: false
      // The tables do not exist before the first row does.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: q.text
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [team.id] }
    }
  }
]

resource serverErrors 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${prefix}-server-errors'
  location: 'global'
  properties: {
    description: 'Runbook: docs/runbooks/server-errors.md'
    severity: 2
    enabled: true
    scopes: [app.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'http5xx'
          metricNamespace: 'Microsoft.Web/sites'
          metricName: 'Http5xx'
          operator: 'GreaterThan'
          threshold: 5
          timeAggregation: 'Total'
        }
      ]
    }
    actions: [{ actionGroupId: team.id }]
  }
}

// Storage and Key Vault publish this metric under the same name, in percent.
var unavailable = {
  criterionType: 'StaticThresholdCriterion'
  name: 'availability'
  metricName: 'Availability'
  operator: 'LessThan'
  threshold: 99
  timeAggregation: 'Average'
}

resource accountsUnavailable 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for (name, i) in accountNames: {
    name: '${prefix}-unavailable-${name}'
    location: 'global'
    properties: {
      description: 'Runbook: docs/runbooks/dependency-unavailable.md'
      severity: 1
      enabled: true
      scopes: [accounts[i].id]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [union(unavailable, { metricNamespace: 'Microsoft.Storage/storageAccounts' })]
      }
      actions: [{ actionGroupId: team.id }]
    }
  }
]

resource vaultUnavailable 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${prefix}-unavailable-${vaultName}'
  location: 'global'
  properties: {
    description: 'Runbook: docs/runbooks/dependency-unavailable.md'
    severity: 1
    enabled: true
    scopes: [vault.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [union(unavailable, { metricNamespace: 'Microsoft.KeyVault/vaults' })]
    }
    actions: [{ actionGroupId: team.id }]
  }
}

resource changeAlerts 'Microsoft.Insights/activityLogAlerts@2020-10-01' = [
  for o in items(operations): {
    name: '${prefix}-changed-${o.key}'
    location: 'global'
    properties: {
      enabled: true
      description: 'Runbook: docs/runbooks/control-plane-change.md'
      scopes: [resourceGroup().id]
      condition: {
        allOf: [
          { field: 'category', equals: 'Administrative' }
          { field: 'operationName', equals: o.value }
          { field: 'status', equals: 'Succeeded' }
        ]
      }
      actions: { actionGroups: [{ actionGroupId: team.id }] }
    }
  }
]

// What the team looks at on an ordinary day.
var views = [
  { name: 'requests', text: loadTextContent('../workbook/requests.kql') }
  { name: 'refusals', text: loadTextContent('../workbook/refusals.kql') }
  { name: 'dependencies', text: loadTextContent('../workbook/dependencies.kql') }
  { name: 'queues', text: loadTextContent('../workbook/queues.kql') }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'workbook')
  location: location
  kind: 'shared'
  properties: {
    displayName: 'Tokenization API'
    category: 'workbook'
    sourceId: workspace.id
    serializedData: string({
      version: 'Notebook/1.0'
      items: map(concat(views, map(queries, q => { name: q.name, text: q.text })), v => {
        type: 3
        name: v.name
        content: {
          version: 'KqlItem/1.0'
          query: v.text
          title: v.name
          queryType: 0
          resourceType: 'microsoft.operationalinsights/workspaces'
          timeContext: { durationMs: 86400000 }
        }
      })
    })
  }
}
