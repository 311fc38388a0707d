package main

import (
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/azure"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/azure/tables"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/tokenvault"
)

const auditTable = "audit"

// site is a deployment: its tables and vault keys.
type site struct {
	tables  map[string]*tables.Store
	wrapper keyring.KeyWrapper
	signer  keyring.Signer
}

func openSite(o options, t *azure.Transport, identity azcore.TokenCredential) (*site, error) {
	s := &site{tables: map[string]*tables.Store{}}
	for account, names := range map[string][]string{
		o.account: {tokenvault.Table, operation.Table, revocation.Table, keyring.Table},
		o.audit:   {auditTable, tokenvault.ErasuresTable},
	} {
		service, err := tables.NewService("https://"+account+".table."+o.suffix, identity, t.ClientOptions(azure.Tables, nil))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if s.tables[name], err = service.Table(name); err != nil {
				return nil, err
			}
		}
	}
	if o.vault == "" {
		return s, nil
	}
	vault, err := keyvault.New(o.vault, identity, t.ClientOptions(azure.KeyVault, nil))
	if err != nil {
		return nil, err
	}
	var wrapErr, signErr error
	s.wrapper, wrapErr = vault.Wrapper(o.wrapName)
	s.signer, signErr = vault.Signer(o.signName)
	return s, errors.Join(wrapErr, signErr)
}
