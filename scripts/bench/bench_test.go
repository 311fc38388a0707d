package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/rowstore"
)

// Every part runs, with counts that make its figures worthless and its counters
// no less true.
func TestPartsRun(t *testing.T) {
	for _, c := range []struct {
		part, flags string
		rows        []string
	}{
		{partCPU, "-rounds 1 -calls 20 -profile 3000", []string{
			"tokenize / budget",
			"authenticate, with the cache / without",
			"tokenize, with the cache / without",
			"warm tokenize: transactions and reads 1 1.000 met",
			"warm tokenize with Idempotency-Key: transactions and reads 2 2.000 met",
			"warm reveal: transactions and reads 1 1.000 met",
			"Key Vault calls in 160 warm operations 0 0 met",
			"Where a tokenize with Idempotency-Key goes, without a socket aim measured",
		}},
		{partThroughput, "-rounds 1 -stored 24 -callers 4", []string{
			"tokenize / raw aztables loop",
			"tokenize: requests to the data account, a call 1 1.000 met",
			"tokenize with Idempotency-Key: requests to the data account, a call 2 2.000 met",
			"reveal: requests to the data account, a call 1 1.000 met",
			"Key Vault calls in 72 warm operations 0 0 met",
		}},
		{partFootprint, "-starts 1", []string{
			"first start to health/ready < 300ms", "binary (-trimpath, -s -w) < 25.0 MiB",
		}},
	} {
		t.Run(c.part, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), append(strings.Fields(c.flags), "-only", c.part), &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			report := strings.Join(strings.Fields(out.String()), " ")
			for _, row := range c.rows {
				if !strings.Contains(report, row) {
					t.Errorf("no row %q in\n%s", row, &out)
				}
			}
		})
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, flags := range []string{"-only nothing", "-rounds 0", "-callers -1", "-profile -1", "cpu", "-unknown"} {
		if err := run(t.Context(), strings.Fields(flags), io.Discard, io.Discard); err == nil {
			t.Errorf("%s is taken", flags)
		}
	}
}

func TestSamplesBelongToTheNearestStep(t *testing.T) {
	const traces = `File: bench
Type: cpu
-----------+-------------------------------------------------------
      10ms   crypto/internal/fips140/bigmod.addMulVVW2048
             crypto/rsa.VerifyPKCS1v15
             secureapi/handler/authn.(*token).verify
             secureapi/handler/httpapi.(*server).tokenizeValue
-----------+-------------------------------------------------------
     1.02s   secureapi/handler/keyring.(*macs).hex
             secureapi/handler/tokenvault.(*planned).drawToken
             secureapi/handler/tokenvault.(*Vault).Tokenize
-----------+-------------------------------------------------------
      20ms   runtime.mallocgc
             secureapi/handler/keyring.(*Keyring).ForWrite
             secureapi/handler/tokenvault.(*Vault).Tokenize
-----------+-------------------------------------------------------
      30ms   runtime.futex
`
	shares, total, err := attribute([]byte(traces))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{
		"RSA verify of the access token":           10 * time.Millisecond,
		"drawing the token, about 16 keyed hashes": 1020 * time.Millisecond,
		"domain (tokenvault, operation, keyring)":  20 * time.Millisecond,
		rest: 30 * time.Millisecond,
	}
	if d := cmp.Diff(want, shares); d != "" || total != 1080*time.Millisecond {
		t.Errorf("total %s, %s", total, d)
	}
	if _, _, err := attribute([]byte("File: bench\n")); err == nil {
		t.Error("a profile without samples is taken")
	}
}

func TestReplayLaysRowsOutAsTheAdapterDoes(t *testing.T) {
	body := bytes.Repeat([]byte{1}, bodyPiece+3)
	b, err := encodeRow(rowstore.Row{Partition: "p", Key: "k", Body: body, Attributes: map[string]string{"Class": "email"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"PartitionKey":"p"`, `"RowKey":"k"`, `"Class":"email"`, `"Body0@odata.type":"Edm.Binary"`, `"Body1":"AQEB"`,
	} {
		if !strings.Contains(string(b), part) {
			t.Errorf("no %s", part)
		}
	}
}

func TestOwnProcessIsReadable(t *testing.T) {
	own, err := cpuTime()
	if err != nil || own <= 0 {
		t.Errorf("own CPU time %v, %v", own, err)
	}
	resident, err := residentOf(os.Getpid())
	if _, statErr := os.Stat("/proc/self/stat"); err != nil || statErr == nil && resident < 1<<20 {
		t.Errorf("resident memory %d, %v", resident, err)
	}
	if absent, err := cpuTimeOf(1 << 30); absent != 0 || err != nil {
		t.Errorf("a process that is not there: %v, %v", absent, err)
	}
}
