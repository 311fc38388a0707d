package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"secureapi/handler/audit"
	"secureapi/handler/azure"
	"secureapi/handler/azure/blobs"
	auditverify "secureapi/scripts/auditverify/verify"
	"secureapi/scripts/devstack/stack"
)

// TestTheLogThatIsExportedVerifies: entries and a published checkpoint are read
// back by what auditverify reads, and hold; a second export does not mix with it.
func TestTheLogThatIsExportedVerifies(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	p.tokenize(t, "log@example.com", "c-1")
	p.close(t)
	w.seal(t, p)
	o := w.o
	// Neither data account nor folder of keys: an auditor has none of them.
	o.dir, o.keys, o.account, o.vault = filepath.Join(t.TempDir(), "log"), "", "", ""
	var said strings.Builder
	if err := exportLog(t.Context(), o, w.transport, w.stack.Credential(), &said); err != nil {
		t.Fatal(err)
	}
	archive, err := auditverify.Read(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	ref, _, err := w.site.signer.Sign(t.Context(), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.site.signer.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	report := auditverify.Verify(archive, key)
	if len(report.Findings) > 0 || report.Checkpoints != 1 || report.Entries < 2 {
		t.Errorf("%+v", report)
	}
	if !strings.Contains(said.String(), "1 checkpoints") || strings.Contains(said.String(), "example.com") {
		t.Errorf("said %q", said.String())
	}
	if err := exportLog(t.Context(), o, w.transport, w.stack.Credential(), io.Discard); err == nil {
		t.Error("a folder that holds an export was written again")
	}
}

// seal signs and publishes a checkpoint, as the timer does.
func (w *world) seal(t *testing.T, p *process) {
	t.Helper()
	container, err := blobs.NewContainer(stack.Endpoint(w.o.audit, "blob"), audit.Container, 1<<10,
		w.stack.Credential(), w.transport.ClientOptions(azure.Blobs, nil))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := audit.NewSealer(p.log.Options, audit.Publication{
		Signer: w.site.signer, Blobs: container, Origin: w.o.audit + ".blob." + w.o.suffix + "/" + audit.Container,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealer.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}
