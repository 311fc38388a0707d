#!/bin/sh
# The templates make keys, never a keyring: a missing one must not be made silently.
set -eu
echo 'The app answers 503 on health/ready until the first keyring exists.'
echo 'Making it is a step of its own, by a member of the keyring group, with access to vault and data account:'
echo "  go run ./scripts/vaultctl keyring bootstrap -vault ${KEY_VAULT_URL:?} -account ${DATA_STORAGE_ACCOUNT:?}"
