package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"secureapi/handler/rowstore"
)

// BlobStore is the container that operations keep their chunks in.
type BlobStore interface {
	// Put creates or overwrites.
	Put(ctx context.Context, name string, data []byte) error
	// Create fails with rowstore.ErrExists where the blob exists.
	Create(ctx context.Context, name string, data []byte) error
	// Get fails with rowstore.ErrNotFound where there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// Delete is idempotent.
	Delete(ctx context.Context, name string) error
}

const blobName = "imports/0f8fad5b-d9cb-469f-a165-70867728950e/part-0001"

// Blobs runs the suite on fresh, empty containers with the given size limit.
func Blobs(t *testing.T, maxSize int, open func(t *testing.T) BlobStore) {
	t.Helper()
	for name, run := range blobCases {
		t.Run(name, func(t *testing.T) { run(t, open(t)) })
	}
	t.Run("sizes", func(t *testing.T) { blobSizes(t, open(t), maxSize) })
}

var blobCases = map[string]func(*testing.T, BlobStore){
	"absent": func(t *testing.T, b BlobStore) {
		if _, err := b.Get(t.Context(), blobName); !errors.Is(err, rowstore.ErrNotFound) {
			t.Fatalf("Get: %v, want ErrNotFound", err)
		}
		if err := b.Delete(t.Context(), blobName); err != nil {
			t.Fatalf("Delete of an absent blob: %v", err)
		}
	},
	"put overwrites": func(t *testing.T, b BlobStore) {
		must(t, b.Put(t.Context(), blobName, []byte("first")))
		must(t, b.Put(t.Context(), blobName, []byte("second")))
		blobHolds(t, b, blobName, []byte("second"))
	},
	"create does not": func(t *testing.T, b BlobStore) {
		must(t, b.Create(t.Context(), blobName, []byte("first")))
		if err := b.Create(t.Context(), blobName, []byte("second")); !errors.Is(err, rowstore.ErrExists) {
			t.Fatalf("second Create: %v, want ErrExists", err)
		}
		blobHolds(t, b, blobName, []byte("first"))
	},
	"delete": func(t *testing.T, b BlobStore) {
		must(t, b.Put(t.Context(), blobName, []byte("x")))
		must(t, b.Delete(t.Context(), blobName))
		must(t, b.Delete(t.Context(), blobName))
		if _, err := b.Get(t.Context(), blobName); !errors.Is(err, rowstore.ErrNotFound) {
			t.Fatalf("Get after Delete: %v, want ErrNotFound", err)
		}
		must(t, b.Create(t.Context(), blobName, []byte("again")))
	},
	"names are apart": func(t *testing.T, b BlobStore) {
		names := []string{"a", "A", "a/b", "a/b/c", "a.b", "a|b:c-d_e", "checkpoints/1000"}
		for _, name := range names {
			must(t, b.Put(t.Context(), name, []byte(name)))
		}
		for _, name := range names {
			blobHolds(t, b, name, []byte(name))
		}
	},
	"invalid names": func(t *testing.T, b BlobStore) {
		for _, name := range []string{
			"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", `a\b`, "a b", "a?b", "a#b", "a%2eb", "ä", "a\n",
			strings.Repeat("n", 513),
		} {
			_, getErr := b.Get(t.Context(), name)
			for _, err := range []error{
				getErr, b.Put(t.Context(), name, nil), b.Create(t.Context(), name, nil), b.Delete(t.Context(), name),
			} {
				if !errors.Is(err, rowstore.ErrInvalid) {
					t.Errorf("name %.20q: %v, want ErrInvalid", name, err)
				}
			}
		}
	},
	"one create of many wins": func(t *testing.T, b BlobStore) {
		const callers = 8
		results := make([]error, callers)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() { results[i] = b.Create(t.Context(), blobName, []byte(fmt.Sprint(i))) })
		}
		group.Wait()
		winner := -1
		for i, err := range results {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("callers %d and %d both won", winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, rowstore.ErrExists):
				t.Fatalf("caller %d: %v, want ErrExists", i, err)
			}
		}
		blobHolds(t, b, blobName, []byte(fmt.Sprint(winner)))
	},
	"cancelled": func(t *testing.T, b BlobStore) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, getErr := b.Get(ctx, blobName)
		for _, err := range []error{
			getErr, b.Put(ctx, blobName, nil), b.Create(ctx, blobName, nil), b.Delete(ctx, blobName),
		} {
			if !errors.Is(err, rowstore.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("with a cancelled context: %v, want ErrUnavailable and Canceled", err)
			}
		}
	},
}

func blobSizes(t *testing.T, b BlobStore, maxSize int) {
	t.Helper()
	for _, size := range []int{0, 1, 64 << 10, maxSize} {
		data := bytes.Repeat([]byte{0x5a}, size)
		must(t, b.Put(t.Context(), blobName, data))
		blobHolds(t, b, blobName, data)
	}
	large := make([]byte, maxSize+1)
	for _, err := range []error{b.Put(t.Context(), "large", large), b.Create(t.Context(), "large", large)} {
		if !errors.Is(err, rowstore.ErrInvalid) {
			t.Errorf("a blob over the limit: %v, want ErrInvalid", err)
		}
	}
}

func blobHolds(t *testing.T, b BlobStore, name string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("blob %q holds %d bytes, want %d others", name, len(got), len(want))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
