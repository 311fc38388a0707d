metadata name = 'Microsoft Sentinel'
metadata description = 'Sentinel on the workspace of the environment, with the queries of the grave alerts as rules that open incidents. Billed by the gigabyte that the workspace takes in.'

@description('Name of the workspace.')
param workspaceName string

// The queries are those of the alerts; here they become incidents with a tactic.
var rules = [
  {
    name: 'audit-broken'
    severity: 'High'
    tactics: ['DefenseEvasion']
    text: loadTextContent('../queries/audit-broken.kql')
  }
  {
    name: 'key-changed'
    severity: 'High'
    tactics: ['CredentialAccess']
    text: loadTextContent('../queries/key-changed.kql')
  }
  {
    name: 'keyring-refused'
    severity: 'High'
    tactics: ['CredentialAccess']
    text: loadTextContent('../queries/keyring-refused.kql')
  }
  {
    name: 'reveal-spike'
    severity: 'Medium'
    tactics: ['Exfiltration']
    text: loadTextContent('../queries/reveal-spike.kql')
  }
  {
    name: 'security-alarm'
    severity: 'High'
    tactics: ['Impact']
    text: loadTextContent('../queries/security-alarm.kql')
  }
  {
    name: 'vault-denied'
    severity: 'Medium'
    tactics: ['CredentialAccess']
    text: loadTextContent('../queries/vault-denied.kql')
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = { name: workspaceName }

resource onboard 'Microsoft.SecurityInsights/onboardingStates@2025-09-01' = {
  scope: workspace
  name: 'default'
  properties: { customerManagedKey: false }
}

resource incidents 'Microsoft.SecurityInsights/alertRules@2025-09-01' = [
  for r in rules: {
    scope: workspace
    name: guid(workspace.id, r.name)
    kind: 'Scheduled'
    properties: {
      displayName: r.name
      description: 'Runbook: docs/runbooks/${r.name}.md'
      enabled: true
      severity: r.severity
      tactics: r.tactics
      query: r.text
      queryFrequency: 'PT15M'
      queryPeriod: 'PT15M'
      triggerOperator: 'GreaterThan'
      triggerThreshold: 0
      suppressionEnabled: false
      suppressionDuration: 'PT1H'
      incidentConfiguration: {
        createIncident: true
        groupingConfiguration: {
          enabled: true
          reopenClosedIncident: false
          lookbackDuration: 'PT5H'
          matchingMethod: 'AllEntities'
        }
      }
    }
    dependsOn: [onboard]
  }
]
