package main

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/azure"
	"secureapi/handler/azure/tables"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/tokenvault"
	"secureapi/scripts/azurekeyring"
)

const auditTable = "audit"

// site is a deployment: its tables and, where a vault is named, its keyring.
type site struct {
	tables map[string]*tables.Store
	ring   keyring.Options
}

func openSite(o options, t *azure.Transport, identity azcore.TokenCredential) (*site, error) {
	s := &site{tables: map[string]*tables.Store{}}
	for account, names := range map[string][]string{
		o.account: {tokenvault.Table, operation.Table, revocation.Table, keyring.Table},
		o.audit:   {auditTable, tokenvault.ErasuresTable},
	} {
		service, err := tables.NewService(o.tables(account), identity, t.ClientOptions(azure.Tables, nil))
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
	var err error
	s.ring, err = o.place().Open(identity, t)
	return s, err
}

// place is where the flags say the keyring is.
func (o options) place() azurekeyring.Place {
	return azurekeyring.Place{Vault: o.vault, Tables: o.tables(o.account), WrapName: o.wrapName, SignName: o.signName}
}

// tables is the address of an account's tables.
func (o options) tables(account string) string { return "https://" + account + ".table." + o.suffix }

// endpoints are all the addresses that the tool calls: they may be in a private network.
func (o options) endpoints() []string {
	all := []string{o.tables(o.account), o.tables(o.audit), o.identity.AuthorityHost()}
	if o.vault != "" {
		all = append(all, o.vault)
	}
	return all
}
