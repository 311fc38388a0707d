targetScope = 'subscription'

extension microsoftGraphV1

metadata name = 'Entra registrations'
metadata description = 'The API with its roles and its scope, and the public client that people sign in through. An entry point of its own: it needs rights in the tenant, the other templates need rights in the subscription.'

@description('Name by which Graph finds the registrations again; never change it afterwards.')
param uniqueName string = 'secureapi'

@description('Name that people see.')
param displayName string = 'Tokenization API'

@description('Object id of the group that is given each role, by the role\'s value; a role without a group is given to nobody.')
param roleGroups RoleGroups = {}

@description('Client ids of further clients that may ask for the scope without consent.')
param preauthorizedClientIds string[] = []

@description('Role value to object id of a group.')
type RoleGroups = {
  @description('Object id of a group.')
  *: string
}

// handler/authz has the same list; a test compares. Approvals and erasures are for people.
var roles = [
  { value: 'Vault.Writer', about: 'Stores values and gets tokens.', members: ['User', 'Application'] }
  { value: 'Vault.Reader', about: 'Sees masked values.', members: ['User', 'Application'] }
  { value: 'Vault.Revealer', about: 'Reads values in clear.', members: ['User', 'Application'] }
  { value: 'Vault.Approver', about: 'Approves what another person wants to read.', members: ['User'] }
  { value: 'Vault.PrivacyOfficer', about: 'Exports and erases a person\'s values.', members: ['User'] }
  { value: 'Vault.Auditor', about: 'Reads the audit log.', members: ['User', 'Application'] }
  { value: 'Vault.Operator', about: 'Adopts keys and controls jobs.', members: ['User', 'Application'] }
]
var scopeId = guid(uniqueName, 'scope', 'Vault.Access')

resource cli 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: '${uniqueName}-vaultctl'
  displayName: '${displayName} (vaultctl)'
  signInAudience: 'AzureADMyOrg'
  // A program on a person's machine keeps no secret: code flow with PKCE on loopback, or device code.
  isFallbackPublicClient: true
  publicClient: { redirectUris: ['http://localhost'] }
  servicePrincipalLockConfiguration: { isEnabled: true, allProperties: true }
}

resource cliPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: cli.appId
}

resource api 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  identifierUris: ['api://${tenant().tenantId}/${uniqueName}']
  groupMembershipClaims: 'None'
  isFallbackPublicClient: false
  appRoles: [
    for r in roles: {
      id: guid(uniqueName, 'role', r.value)
      value: r.value
      displayName: r.value
      description: r.about
      allowedMemberTypes: r.members
      isEnabled: true
    }
  ]
  api: {
    // The handler refuses version 1.0 unless told otherwise.
    requestedAccessTokenVersion: 2
    acceptMappedClaims: false
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'Vault.Access'
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Call the API as the person who is signed in'
        adminConsentDescription: 'The client calls with that person\'s roles, and no others.'
        userConsentDisplayName: 'Call the API as you'
        userConsentDescription: 'The client calls with your roles, and no others.'
      }
    ]
    preAuthorizedApplications: [
      for id in concat([cli.appId], preauthorizedClientIds): { appId: id, delegatedPermissionIds: [scopeId] }
    ]
  }
  optionalClaims: {
    accessToken: [
      // Without it nothing tells a person's token from an application's.
      { name: 'idtyp', essential: false, additionalProperties: ['include_user_token'] }
      { name: 'acrs', essential: false }
      { name: 'xms_cc', essential: false }
      { name: 'auth_time', essential: false }
    ]
  }
  web: { redirectUris: [], implicitGrantSettings: { enableAccessTokenIssuance: false, enableIdTokenIssuance: false } }
  servicePrincipalLockConfiguration: { isEnabled: true, allProperties: true }
}

// Nobody gets a token who was not given a role.
resource apiPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: api.appId
  appRoleAssignmentRequired: true
  accountEnabled: true
}

resource roleToGroup 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for r in items(roleGroups): {
    appRoleId: guid(uniqueName, 'role', r.key)
    principalId: r.value
    resourceId: apiPrincipal.id
  }
]

@description('Client id of the API: API_CLIENT_ID.')
output apiClientId string = api.appId

@description('Client id of vaultctl: PUBLIC_CLIENT_ID.')
output publicClientId string = cli.appId
