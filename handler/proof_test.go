package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/audit"
	"secureapi/handler/checkpoint"
	"secureapi/handler/config"
	"secureapi/scripts/devstack/entra"
)

// auditor is a token of an auditor of a tenant.
func auditor(t *testing.T, tenant string) string {
	t.Helper()
	for _, p := range entra.Personas() {
		if p.Tenant != tenant {
			continue
		}
		claims := local.Entra.PersonaClaims(p, entra.Grant{})
		claims["roles"] = []string{"Vault.Auditor"}
		token, err := local.Entra.Sign(tenant, claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	t.Fatalf("nobody lives in %s", tenant)
	return ""
}

// get reads a JSON answer.
func get(t *testing.T, url, token string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Traceparent", "00-"+namesTrace+"-"+span+"-01")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// TestAnEntryIsProvenFromTheRunningSystem: what the API says of an entry is
// verified here with nothing but the vault's public key, and the checkpoint is
// the one in the write-once container.
func TestAnEntryIsProvenFromTheRunningSystem(t *testing.T) {
	a, server := startApp(t)
	defer a.close(t.Context())
	api := server.URL + "/api/v1/audit/"
	home, other := auditor(t, entra.HomeTenant), auditor(t, entra.OtherTenant)
	writer, err := local.Entra.PersonaToken("writer", entra.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	seal := func() {
		if status := post(t, server.URL+"/api/v1/tokens", namesTrace, writer, `{"class":"email","value":"proof@example.com"}`); status != http.StatusCreated {
			t.Fatalf("tokenize: status %d", status)
		}
		must(t, server.URL+"/SealAudit", tick, http.StatusOK)
	}
	type answer struct {
		Note    string `json:"note"`
		Entries []struct {
			Index int64       `json:"index"`
			Leaf  []byte      `json:"leaf"`
			Path  []tlog.Hash `json:"path"`
		} `json:"entries"`
	}
	seal()
	var first struct{ Note string }
	if status := get(t, api+"checkpoint", home, &first); status != http.StatusOK {
		t.Fatalf("checkpoint: status %d", status)
	}
	old := verified(t, a, first.Note)
	var page struct{ Events []audit.Entry }
	if status := get(t, api+"events?action=tokens.create&limit=1", home, &page); status != http.StatusOK || len(page.Events) != 1 {
		t.Fatalf("events: status %d, %d entries", status, len(page.Events))
	}
	id := page.Events[0].ID
	guid := strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	seal()

	var proof answer
	if status := get(t, api+"proofs/"+guid, home, &proof); status != http.StatusOK || len(proof.Entries) == 0 {
		t.Fatalf("proof: status %d, %d entries", status, len(proof.Entries))
	}
	c := verified(t, a, proof.Note)
	for _, e := range proof.Entries {
		if err := tlog.CheckRecord(e.Path, c.Tree.N, c.Tree.Hash, e.Index, tlog.RecordHash(e.Leaf)); err != nil {
			t.Errorf("entry %d: %v", e.Index, err)
		}
		if !strings.Contains(string(e.Leaf), id) {
			t.Errorf("entry %d is another one", e.Index)
		}
	}
	for name, path := range map[string]string{
		"another tenant's": "proofs/" + guid, "none": "proofs/0f8fad5b-d9cb-469f-a165-70867728950e",
	} {
		if status := get(t, api+path, other, nil); status != http.StatusNotFound {
			t.Errorf("%s: status %d", name, status)
		}
	}
	var grown struct {
		Note        string
		Consistency []tlog.Hash
	}
	if status := get(t, api+"checkpoint?from="+strconv.FormatInt(old.Tree.N, 10), home, &grown); status != http.StatusOK {
		t.Fatalf("consistency: status %d", status)
	}
	c = verified(t, a, grown.Note)
	if err := tlog.CheckTree(grown.Consistency, c.Tree.N, c.Tree.Hash, old.Tree.N, old.Tree.Hash); err != nil {
		t.Error(err)
	}
	if status := get(t, api+"checkpoint?from=2000000000", home, nil); status != http.StatusBadRequest {
		t.Errorf("from a size to come: status %d", status)
	}
}

// verified parses a note, verifies it with the vault's key and finds it in the
// container.
func verified(t *testing.T, a *app, note string) checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Parse([]byte(note))
	if err != nil {
		t.Fatal(err)
	}
	ref, _, err := a.signer.Sign(t.Context(), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := a.signer.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(public); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(handlerEnv(local))
	if err != nil {
		t.Fatal(err)
	}
	all, err := newStores(settings, local.Credential(), a.transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	published, err := all.checkpoints.Get(t.Context(), audit.BlobName(uint64(c.Tree.N)))
	if err != nil || string(published) != note || c.Origin != checkpointsOrigin(settings) {
		t.Errorf("origin %s, published %q, %v", c.Origin, published, err)
	}
	return c
}
