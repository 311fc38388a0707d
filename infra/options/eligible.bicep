metadata name = 'Just-in-time access'
metadata description = 'Roles that a group may activate for hours, with the approval and sign-in that the role\'s own settings ask for. Needs Entra ID P2 or Governance. A request\'s name is used once: repeat it with another `turn`.'

@description('Object id of the group that becomes eligible.')
@minLength(36)
@maxLength(36)
param groupId string

@description('First moment of the eligibility, such as 2026-12-01T00:00:00Z.')
param eligibleFrom string

@description('How long it lasts.')
param duration string = 'P180D'

@description('Which request this is: a request cannot be made twice under one name.')
@minValue(1)
param turn int = 1

@description('What the group may activate: changing the app, or mending its network. Never data and never keys.')
param roles ('websiteContributor' | 'networkContributor')[] = ['websiteContributor']

var definitions = {
  websiteContributor: 'de139f84-1756-47ae-9be6-808fbbe84772'
  networkContributor: '4d97b98b-1d4f-4787-a291-c67834d212e7'
}

resource eligible 'Microsoft.Authorization/roleEligibilityScheduleRequests@2020-10-01' = [
  for r in roles: {
    name: guid(resourceGroup().id, groupId, definitions[r], string(turn))
    properties: {
      principalId: groupId
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', definitions[r])
      requestType: 'AdminUpdate'
      justification: 'Operators elevate just in time.'
      scheduleInfo: { startDateTime: eligibleFrom, expiration: { type: 'AfterDuration', duration: duration } }
    }
  }
]
