package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/audit"
	"secureapi/handler/azure"
	"secureapi/handler/azure/tables"
	auditexport "secureapi/scripts/auditverify/export"
)

// exportLog writes the audit log and its published checkpoints into a folder, in
// the form that scripts/auditverify reads. It asks for the audit account alone,
// so that an auditor's rights are enough.
func exportLog(ctx context.Context, o options, t *azure.Transport, identity azcore.TokenCredential, out io.Writer) error {
	// What is left there of another export would be judged with this one.
	if entries, err := os.ReadDir(o.dir); len(entries) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(errors.New("-dir must be a new or an empty folder"), err)
	}
	service, err := tables.NewService("https://"+o.audit+".table."+o.suffix, identity, t.ClientOptions(azure.Tables, nil))
	if err != nil {
		return err
	}
	table, err := service.Table(auditTable)
	if err != nil {
		return err
	}
	archive, err := auditexport.Export(ctx, table, "https://"+o.audit+".blob."+o.suffix+"/"+audit.Container, identity, t.ClientOptions(azure.Blobs, nil))
	if err != nil {
		return err
	}
	if err := archive.Write(o.dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d rows and %d checkpoints: check them with go run ./scripts/auditverify -key sign.pem %s\n",
		len(archive.Rows), len(archive.Notes), o.dir)
	return err
}
