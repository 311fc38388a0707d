package checkinfra_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/checkinfra"
)

// TestProperties holds the settings that have one right value in every profile.
func TestProperties(t *testing.T) { hold(t, properties) }

// TestKeys holds kinds, sizes, operations and rotation of the vault's keys.
func TestKeys(t *testing.T) { hold(t, keys) }

// TestWriteOnce holds the container of checkpoints to its policy.
func TestWriteOnce(t *testing.T) { hold(t, writeOnce) }

// TestCustomerManagedKey: with a key of one's own, all services of all accounts are under it.
func TestCustomerManagedKey(t *testing.T) { hold(t, customerManagedKey) }

// TestLocks: what cannot be restored cannot be deleted by accident, where data is real.
func TestLocks(t *testing.T) { hold(t, locks) }

var required = map[string]map[string]any{
	"Microsoft.Storage/storageAccounts": {
		"allowSharedKeyAccess": false, "allowBlobPublicAccess": false, "isLocalUserEnabled": false, "isSftpEnabled": false,
		"allowCrossTenantReplication": false, "defaultToOAuthAuthentication": true, "allowedCopyScope": "AAD",
		"minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true, "sasPolicy.expirationAction": "Block",
		"encryption.requireInfrastructureEncryption": true,
		"encryption.services.table.keyType":          "Account", "encryption.services.queue.keyType": "Account",
		"networkAcls.bypass": "None",
	},
	"Microsoft.Storage/storageAccounts/blobServices": {
		"deleteRetentionPolicy.enabled": true, "containerDeleteRetentionPolicy.enabled": true,
	},
	"Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "None"},
	"Microsoft.KeyVault/vaults": {
		"enableRbacAuthorization": true, "enablePurgeProtection": true, "enableSoftDelete": true,
		"softDeleteRetentionInDays": 90.0, "enabledForTemplateDeployment": false, "enabledForDeployment": false,
		"enabledForDiskEncryption": false,
	},
	"Microsoft.Web/sites": {
		"httpsOnly": true, "siteConfig.http20Enabled": true, "siteConfig.cors.supportCredentials": false, "siteConfig.minTlsVersion": "1.2", "siteConfig.scmMinTlsVersion": "1.2",
		"functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
		"functionAppConfig.runtime.name":                           "custom",
	},
	"Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"allow": false},
	"Microsoft.OperationalInsights/workspaces":               {"features.disableLocalAuth": true},
	"Microsoft.Insights/components":                          {"DisableLocalAuth": true},
}

func properties(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	for kind, values := range required {
		resources := of(s, kind)
		if len(resources) == 0 {
			wrong.addf("no %s: its rules check nothing", kind)
		}
		for _, r := range resources {
			for path, want := range values {
				if got := r.At(path); got != want {
					wrong.addf("%s %s: %s is %v, want %v", kind, r.Name, path, got, want)
				}
			}
		}
	}
	return wrong
}

func keys(profile string, s checkinfra.Snapshot) []string {
	type key struct {
		Kind, Size, Curve, Operations any
		Rotated                       bool
	}
	suffix, got := "", map[string]key{}
	if profile == "regulated" {
		suffix = "-HSM"
	}
	for _, r := range of(s, "Microsoft.KeyVault/vaults/keys") {
		got[last(r.Name)] = key{
			r.At("kty"), r.At("keySize"), r.At("curveName"), r.At("keyOps"),
			r.At("rotationPolicy.attributes.expiryTime") == "P1Y",
		}
	}
	wrapping, signing := []any{"wrapKey", "unwrapKey"}, []any{"sign", "verify"}
	want := map[string]key{
		"kek":  {"RSA" + suffix, 3072.0, nil, wrapping, true},
		"sign": {"EC" + suffix, nil, "P-256", signing, false},
	}
	if profile == "regulated" {
		want["storage"] = key{"RSA-HSM", 3072.0, nil, wrapping, true}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return []string{"keys: " + diff}
	}
	return nil
}

func writeOnce(profile string, s checkinfra.Snapshot) []string {
	var wrong problems
	days := map[string]float64{"dev": 1, "prod": 365, "regulated": 2555}[profile]
	policies := of(s, "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies")
	if len(policies) != 1 {
		wrong.addf("%d write-once policies, want that of checkpoints", len(policies))
	}
	for _, p := range policies {
		if p.At("immutabilityPeriodSinceCreationInDays") != days {
			wrong.addf("%s holds for %v days, want %v", p.Name, p.At("immutabilityPeriodSinceCreationInDays"), days)
		}
		if p.At("allowProtectedAppendWrites") != false || p.At("allowProtectedAppendWritesAll") != false {
			wrong.addf("%s lets blobs be appended to", p.Name)
		}
	}
	return wrong
}

func customerManagedKey(profile string, s checkinfra.Snapshot) []string {
	var wrong problems
	accounts := of(s, "Microsoft.Storage/storageAccounts")
	if len(accounts) != 3 {
		wrong.addf("%d accounts, want host, data and audit", len(accounts))
	}
	for _, a := range accounts {
		source, name := a.At("encryption.keySource"), a.At("encryption.keyvaultproperties.keyname")
		if profile == "regulated" && (source != "Microsoft.Keyvault" || name != "storage") {
			wrong.addf("%s is encrypted by %v with %v", a.Name, source, name)
		}
		// A version that is named would never be rotated away from.
		if a.At("encryption.keyvaultproperties.keyversion") != nil {
			wrong.addf("%s keeps to one version of its key", a.Name)
		}
		for _, service := range []string{"blob", "file", "queue", "table"} {
			if a.At("encryption.services."+service+".keyType") != "Account" {
				wrong.addf("%s: %s is outside the account's key", a.Name, service)
			}
		}
	}
	return wrong
}

func locks(profile string, s checkinfra.Snapshot) []string {
	var wrong problems
	var locked []string
	for _, r := range of(s, "Microsoft.Authorization/locks") {
		if r.At("level") != "CanNotDelete" {
			wrong.addf("%s is of level %v", r.ID, r.At("level"))
		}
		locked = append(locked, scope(r))
	}
	for _, r := range s.Resources {
		precious := r.Type == "Microsoft.KeyVault/vaults" || r.Type == "Microsoft.Storage/storageAccounts" && !host(r)
		if precious && slices.Contains(locked, r.ID) != private(profile) {
			wrong.addf("%s: locked is %v", r.Name, !private(profile))
		}
	}
	return wrong
}
