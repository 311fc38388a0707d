package memstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"secureapi/handler/rowstore"
)

// Blobs is one container. It is safe for concurrent use.
type Blobs struct {
	mu      sync.Mutex
	blobs   map[string][]byte
	maxSize int
	onCall  BlobHook
}

// BlobOp names a method of Blobs for a BlobHook.
type BlobOp string

// The methods of Blobs.
const (
	BlobPut    BlobOp = "put"
	BlobCreate BlobOp = "create"
	BlobGet    BlobOp = "get"
	BlobDelete BlobOp = "delete"
)

// BlobHook sees a valid call before it is answered; see ApplyHook for what
// applied means.
type BlobHook func(op BlobOp, name string) (applied bool, err error)

// NewBlobs makes an empty container whose blobs have at most maxSize bytes.
func NewBlobs(maxSize int) *Blobs {
	return &Blobs{blobs: make(map[string][]byte), maxSize: maxSize}
}

// OnCall sets the hook; nil removes it.
func (b *Blobs) OnCall(hook BlobHook) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onCall = hook
}

// Put creates or overwrites a blob.
func (b *Blobs) Put(ctx context.Context, name string, data []byte) error {
	if err := b.validate(name, data); err != nil {
		return err
	}
	return b.call(ctx, BlobPut, name, func() error {
		b.blobs[name] = slices.Clone(data)
		return nil
	})
}

// Create writes a blob that must not exist: rowstore.ErrExists.
func (b *Blobs) Create(ctx context.Context, name string, data []byte) error {
	if err := b.validate(name, data); err != nil {
		return err
	}
	return b.call(ctx, BlobCreate, name, func() error {
		if _, ok := b.blobs[name]; ok {
			return rowstore.ErrExists
		}
		b.blobs[name] = slices.Clone(data)
		return nil
	})
}

// Get reads a blob: rowstore.ErrNotFound where there is none.
func (b *Blobs) Get(ctx context.Context, name string) ([]byte, error) {
	if err := b.validate(name, nil); err != nil {
		return nil, err
	}
	var data []byte
	err := b.call(ctx, BlobGet, name, func() error {
		stored, ok := b.blobs[name]
		if !ok {
			return rowstore.ErrNotFound
		}
		data = append([]byte{}, stored...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Delete removes a blob; that there is none is no error.
func (b *Blobs) Delete(ctx context.Context, name string) error {
	if err := b.validate(name, nil); err != nil {
		return err
	}
	return b.call(ctx, BlobDelete, name, func() error {
		delete(b.blobs, name)
		return nil
	})
}

// All gives a copy of every blob by name.
func (b *Blobs) All() map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(b.blobs)
	for name, data := range all {
		all[name] = slices.Clone(data)
	}
	return all
}

// Plant writes a blob without size check or hook, as a storage writer could.
func (b *Blobs) Plant(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blobs[name] = slices.Clone(data)
}

func (b *Blobs) call(ctx context.Context, op BlobOp, name string, effect func() error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	b.mu.Lock()
	hook := b.onCall
	b.mu.Unlock()
	var fault error
	if hook != nil {
		applied, err := hook(op, name)
		if err != nil && !applied {
			return err
		}
		fault = err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := effect(); err != nil {
		return err
	}
	return fault
}

func (b *Blobs) validate(name string, data []byte) error {
	if err := rowstore.ValidateBlobName(name); err != nil {
		return err
	}
	if len(data) > b.maxSize {
		return fmt.Errorf("%w: a blob of %d bytes", rowstore.ErrInvalid, len(data))
	}
	return nil
}
