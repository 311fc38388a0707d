using 'eligible.bicep'

param groupId = readEnvironmentVariable('OPERATORS_GROUP_ID')
param eligibleFrom = readEnvironmentVariable('ELIGIBLE_FROM', '2026-12-01T00:00:00Z')
