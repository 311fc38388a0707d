# The templates make keys, never a keyring: a missing one must not be made silently.
$ErrorActionPreference = 'Stop'
if (-not $env:KEY_VAULT_URL -or -not $env:DATA_STORAGE_ACCOUNT) { throw 'KEY_VAULT_URL and DATA_STORAGE_ACCOUNT are not set' }
Write-Output 'The app answers 503 on health/ready until the first keyring exists.'
Write-Output 'Making it is a step of its own, by a member of the keyring group, with access to vault and data account:'
Write-Output "  go run ./scripts/vaultctl keyring bootstrap -vault $($env:KEY_VAULT_URL) -account $($env:DATA_STORAGE_ACCOUNT)"
