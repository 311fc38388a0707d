package tokencache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
)

// content stands for MSAL's memory.
type content struct {
	text string
	fail bool
}

func (c *content) Marshal() ([]byte, error) { return []byte(c.text), nil }

func (c *content) Unmarshal(data []byte) error {
	if c.fail {
		return errors.New("quotes " + string(data))
	}
	c.text = string(data)
	return nil
}

const plain = `{"RefreshToken":"a refresh token"}`

func options(t *testing.T) Options {
	t.Helper()
	return Options{
		CacheDir: filepath.Join(t.TempDir(), "cache"), KeyDir: filepath.Join(t.TempDir(), "keys"),
		Authority: "https://login.microsoftonline.com/tenant", ClientID: "client",
	}
}

func openFile(t *testing.T, o Options) *File {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Release() })
	return f
}

func export(t *testing.T, f *File, text string) {
	t.Helper()
	if err := f.Export(t.Context(), &content{text: text}, cache.ExportHints{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
}

// replace reads the cache as another process would.
func replace(t *testing.T, o Options) (string, error) {
	t.Helper()
	f := openFile(t, o)
	into := &content{text: "what was in memory"}
	err := f.Replace(t.Context(), into, cache.ReplaceHints{})
	return into.text, errors.Join(err, f.Release())
}

func TestAnotherProcessReadsItBack(t *testing.T) {
	o := options(t)
	if got, err := replace(t, o); err != nil || got != "{}" {
		t.Errorf("nothing kept: %q, %v", got, err)
	}
	f := openFile(t, o)
	export(t, f, plain)
	first, err := os.ReadFile(f.path)
	if err != nil || bytes.Contains(first, []byte("refresh")) {
		t.Errorf("on disk: %q, %v", first, err)
	}
	if got, err := replace(t, o); err != nil || got != plain {
		t.Errorf("%q, %v", got, err)
	}
	export(t, f, plain)
	if second, err := os.ReadFile(f.path); err != nil || bytes.Equal(first, second) {
		t.Errorf("the same bytes for the same content, %v", err)
	}
	for _, path := range []string{f.path, f.keyPath, f.lock.Path()} {
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(o.CacheDir, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestAlteredCacheDoesNotOpen changes every byte, the length, and the binding.
func TestAlteredCacheDoesNotOpen(t *testing.T) {
	o := options(t)
	f := openFile(t, o)
	export(t, f, plain)
	good, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damaged := func(what string) {
		t.Helper()
		got, err := replace(t, o)
		if !errors.Is(err, ErrDamaged) || got != "what was in memory" || strings.Contains(err.Error(), "refresh") {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		put(f.path, bad)
		damaged("a changed bit")
	}
	for _, n := range []int{0, 4, 5, 16, len(good) - 1} {
		put(f.path, good[:n])
		damaged("cut")
	}
	put(f.path, append(bytes.Clone(good), 0))
	damaged("a byte more")
	put(f.path, make([]byte, maxFile+1))
	damaged("large")

	// Another sign-in's cache and key, moved here: the seal knows whose it is.
	other := o
	other.ClientID = "another"
	g := openFile(t, other)
	export(t, g, plain)
	for _, move := range [][2]string{{g.path, f.path}, {g.keyPath, f.keyPath}} {
		data, err := os.ReadFile(move[0])
		if err != nil {
			t.Fatal(err)
		}
		put(move[1], data)
	}
	damaged("moved")

	put(f.path, good)
	put(f.keyPath, make([]byte, keySize))
	damaged("another key")
	put(f.keyPath, make([]byte, keySize-1))
	damaged("half a key")
	if err := os.Remove(f.keyPath); err != nil {
		t.Fatal(err)
	}
	damaged("no key")
	if err := openFile(t, o).Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = f.Release()
}

func TestContentThatMSALDoesNotTake(t *testing.T) {
	o := options(t)
	export(t, openFile(t, o), plain)
	err := openFile(t, o).Replace(t.Context(), &content{fail: true}, cache.ReplaceHints{})
	if !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "refresh") {
		t.Errorf("%v", err)
	}
}

func TestCachesStayApart(t *testing.T) {
	o := options(t)
	export(t, openFile(t, o), plain)
	for name, change := range map[string]func(*Options){
		"another authority": func(o *Options) { o.Authority += "2" }, "another client": func(o *Options) { o.ClientID += "2" },
		"the local stack": func(o *Options) { o.Local = true },
		"words run together": func(o *Options) {
			o.Authority, o.ClientID = o.Authority[:len(o.Authority)-1], o.Authority[len(o.Authority)-1:]+o.ClientID
		},
	} {
		other := o
		change(&other)
		if got, err := replace(t, other); err != nil || got != "{}" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	o.KeyDir = o.CacheDir
	if _, err := Open(o); err == nil {
		t.Error("the key lies beside the cache")
	}
}

func TestExposedFilesAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps others out by the folder's access list")
	}
	o := options(t)
	f := openFile(t, o)
	export(t, f, plain)
	for _, path := range []string{f.path, f.keyPath} {
		if err := os.Chmod(path, 0o640); err != nil { // #nosec G302 -- the fault under test
			t.Fatal(err)
		}
		if got, err := replace(t, o); !errors.Is(err, ErrFile) || got == plain || !strings.Contains(err.Error(), "0600") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		moved := path + ".moved"
		if err := errors.Join(os.Rename(path, moved), os.Symlink(moved, path)); err != nil {
			t.Fatal(err)
		}
		if _, err := replace(t, o); !errors.Is(err, ErrFile) {
			t.Errorf("%s as a link: %v", path, err)
		}
		if err := os.Rename(moved, path); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := replace(t, o); err != nil || got != plain {
		t.Errorf("%q, %v", got, err)
	}
}

// TestOneProcessAtATime: who reads to write holds the cache until Release.
func TestOneProcessAtATime(t *testing.T) {
	o := options(t)
	first, second := openFile(t, o), openFile(t, o)
	if err := first.Replace(t.Context(), &content{}, cache.ReplaceHints{}); err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithTimeout(t.Context(), 3*lockPoll)
	defer cancel()
	if err := second.Replace(waiting, &content{}, cache.ReplaceHints{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second reads meanwhile: %v", err)
	}
	done := make(chan string)
	go func() {
		into := &content{}
		if err := second.Replace(context.WithoutCancel(t.Context()), into, cache.ReplaceHints{}); err != nil {
			into.text = err.Error()
		}
		done <- into.text
	}()
	if err := first.Export(t.Context(), &content{text: plain}, cache.ExportHints{}); err != nil {
		t.Fatal(err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-done:
		if got != plain {
			t.Errorf("the second reads %q", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the second still waits")
	}
}

func TestRemove(t *testing.T) {
	o := options(t)
	f := openFile(t, o)
	export(t, f, plain)
	for range 2 { // it may be repeated
		if err := f.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{f.path, f.keyPath} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}
