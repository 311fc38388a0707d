// Package tokencache keeps MSAL's token cache of one sign-in on disk, sealed.
//
//	<cache dir>/<name>.cache   "VCTC" version | nonce | ciphertext | tag   (AES-256-GCM)
//	<cache dir>/<name>.lock    one process at a time
//	<key dir>/<name>.key       32 random bytes
//
// The name is a hash of whose tokens they are: authority, client and whether it
// is the local stack. The same words are the seal's additional data, so that a
// file that was moved in place of another does not open.
//
// Trust boundary: the key lies in another folder than the cache, both readable
// by their owner alone. That protects the cache where it goes by itself: into a
// backup or an image of the cache folder, a support bundle, a disk that is thrown
// away in part; and it shows any change. It does not protect against a program
// that runs as the same user, which can read both, nor against an older copy of
// the cache put back. docs/sign-in.md says why there is no keychain.
package tokencache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/gofrs/flock"
)

const (
	// maxFile bounds what is read: a cache of one person is a few kilobytes.
	maxFile = 1 << 20
	// lockPoll and lockWait: another process holds the lock while it asks the
	// authority, which is bounded in seconds.
	lockPoll = 50 * time.Millisecond
	lockWait = 90 * time.Second
)

// ErrDamaged: the cache was altered, or its key is not the one that sealed it. A
// new sign-in, after Remove, is all that helps.
var ErrDamaged = errors.New("the token cache does not open")

// ErrFile: the files cannot be used as they are; the text says which and why.
var ErrFile = errors.New("token cache")

// ErrBusy: another process holds the cache for too long.
var ErrBusy = errors.New("another vaultctl holds the token cache")

// Options say whose cache it is and where.
type Options struct {
	// CacheDir and KeyDir are two folders; both are made if need be.
	CacheDir, KeyDir string
	// Authority, ClientID and Local are what the cache is bound to.
	Authority, ClientID string
	Local               bool
}

// File is the sealed cache of one sign-in. It implements cache.ExportReplace.
//
// The first use takes the lock, Release gives it back: one process at a time
// reads, refreshes and writes, so that a refresh token is never redeemed twice
// and no process writes over what another has just written.
type File struct {
	path, keyPath string
	binding       []byte
	lock          *flock.Flock
	held          bool
}

var _ cache.ExportReplace = (*File)(nil)

// Open makes the folders; it reads nothing yet.
func Open(o Options) (*File, error) {
	if o.CacheDir == "" || o.KeyDir == "" || filepath.Clean(o.CacheDir) == filepath.Clean(o.KeyDir) {
		return nil, fmt.Errorf("%w: the folders of cache and key must be two", ErrFile)
	}
	for _, dir := range []string{o.CacheDir, o.KeyDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("%w: making its folder: %w", ErrFile, err)
		}
	}
	place := "cloud"
	if o.Local {
		place = "local stack"
	}
	binding := bind(o.Authority, o.ClientID, place)
	sum := sha256.Sum256(binding)
	name := hex.EncodeToString(sum[:16])
	path := filepath.Join(o.CacheDir, name)
	return &File{
		path: path + ".cache", keyPath: filepath.Join(o.KeyDir, name+".key"), binding: binding,
		lock: flock.New(path+".lock", flock.SetPermissions(0o600)),
	}, nil
}

// Path is where the cache is, for messages.
func (f *File) Path() string { return f.path }

// Replace implements cache.ExportReplace: what is on disk takes the place of
// what is in memory.
func (f *File) Replace(ctx context.Context, into cache.Unmarshaler, _ cache.ReplaceHints) error {
	if err := f.acquire(ctx); err != nil {
		return err
	}
	sealed, err := readFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return into.Unmarshal([]byte("{}"))
	}
	if err != nil {
		return fmt.Errorf("%w: reading: %w", ErrFile, err)
	}
	key, err := readKey(f.keyPath)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: its key is gone", ErrDamaged)
	}
	if err != nil {
		return err
	}
	defer clear(key)
	plain, err := open(key, sealed, f.binding)
	if err != nil {
		return err
	}
	defer clear(plain)
	if err := into.Unmarshal(plain); err != nil {
		// MSAL's text may quote the cache.
		return fmt.Errorf("%w: its content is not MSAL's", ErrDamaged)
	}
	return nil
}

// Export implements cache.ExportReplace. The file appears as a whole.
func (f *File) Export(ctx context.Context, from cache.Marshaler, _ cache.ExportHints) error {
	if err := f.acquire(ctx); err != nil {
		return err
	}
	plain, err := from.Marshal()
	if err != nil {
		return fmt.Errorf("%w: encoding", ErrFile)
	}
	defer clear(plain)
	key, err := readKey(f.keyPath)
	if errors.Is(err, os.ErrNotExist) {
		key, err = makeKey(f.keyPath)
	}
	if err != nil {
		return err
	}
	defer clear(key)
	sealed, err := seal(key, plain, f.binding)
	if err != nil {
		return err
	}
	return writeFile(f.path, sealed)
}

// Release gives the lock back. It may be called without holding it.
func (f *File) Release() error {
	if !f.held {
		return nil
	}
	f.held = false
	if err := f.lock.Unlock(); err != nil {
		return fmt.Errorf("%w: unlocking: %w", ErrFile, err)
	}
	return nil
}

// Remove deletes cache and key. The lock's empty file stays: who waits for it
// must wait for the same one.
func (f *File) Remove(ctx context.Context) error {
	if err := f.acquire(ctx); err != nil {
		return err
	}
	var problems []error
	for _, path := range []string{f.path, f.keyPath} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, fmt.Errorf("%w: removing: %w", ErrFile, err))
		}
	}
	return errors.Join(problems...)
}

func (f *File) acquire(ctx context.Context) error {
	if f.held {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	locked, err := f.lock.TryLockContext(waiting, lockPoll)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case waiting.Err() != nil:
		return ErrBusy
	case err != nil:
		return fmt.Errorf("%w: locking: %w", ErrFile, err)
	}
	f.held = locked
	return nil
}
