package keyring

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"secureapi/handler/clock"
)

// held is a copy of the keyring and when it was last compared with the table.
type held struct {
	keys    *Keys
	checked time.Time
	// refused: what stands in the table now was found forged.
	refused bool
}

// ForWrite gives the keys for sealing. ErrStale where the copy is older than
// WriteLife and cannot be refreshed now. The Keys are for the call at hand;
// they are not to be kept.
func (k *Keyring) ForWrite(ctx context.Context) (*Keys, error) { return k.get(ctx, WriteLife) }

// ForRead gives the keys for opening, at most ReadLife old. Like ForWrite it
// is no more than a look at a pointer while the copy is fresh.
func (k *Keyring) ForRead(ctx context.Context) (*Keys, error) { return k.get(ctx, ReadLife) }

// AuditMAC gives the key that audit entries are MACed with, as ForRead does.
func (k *Keyring) AuditMAC(ctx context.Context) ([]byte, error) {
	keys, err := k.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	return keys.AuditMAC(), nil
}

func (k *Keyring) get(ctx context.Context, life time.Duration) (*Keys, error) {
	if keys := k.fresh(life); keys != nil {
		return keys, nil
	}
	if err := k.Load(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	}
	if keys := k.fresh(life); keys != nil {
		return keys, nil
	}
	return nil, ErrStale
}

func (k *Keyring) fresh(life time.Duration) *Keys {
	h := k.held.Load()
	if h == nil {
		return nil
	}
	if h.refused {
		life = min(life, WriteLife)
	}
	if a := clock.Age(k.options.Clock(), h.checked); a < 0 || a >= life {
		return nil
	}
	return h.keys
}

// Run keeps the copy fresh until ctx ends: at once where there is none yet,
// then about every RefreshEvery, sooner after a failure. A refresh that finds
// nothing new costs one transaction and no vault call.
func (k *Keyring) Run(ctx context.Context) {
	const firstRetry = time.Second
	var wait, retry time.Duration
	if k.held.Load() != nil {
		wait = jitter(RefreshEvery)
	}
	for clock.Sleep(ctx, wait) {
		err := k.Load(ctx)
		switch {
		case err == nil:
			wait, retry = jitter(RefreshEvery), 0
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrForged):
			k.options.Logger.ErrorContext(ctx, "keyring refused", "error", err)
		default:
			k.options.Logger.WarnContext(ctx, "keyring refresh failed", "error", err)
		}
		retry = min(max(2*retry, firstRetry), RefreshEvery)
		wait = jitter(retry)
	}
}

// jitter spreads d by a fifth to either side, so that instances that started
// together do not read together for ever.
func jitter(d time.Duration) time.Duration {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	spread := 2 * d / 5
	return d - spread/2 + time.Duration(binary.BigEndian.Uint32(b[:]))%max(spread, 1)
}

// Load compares the copy with the table: one transaction, and Key Vault only
// for what is new. Concurrent calls share one load.
func (k *Keyring) Load(ctx context.Context) error {
	result := k.shared.DoChan("load", func() (any, error) {
		// The load outlives the caller that happened to start it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		if err := k.enter(ctx); err != nil {
			return nil, err
		}
		defer k.leave()
		return nil, k.refresh(ctx)
	})
	select {
	case r := <-result:
		// Only here: an alarm that uses the keyring must find no load under way.
		return k.report(ctx, r.Err)
	case <-ctx.Done():
		return fmt.Errorf("loading keyring: %w", ctx.Err())
	}
}

func (k *Keyring) enter(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the keyring: %w", ctx.Err())
	}
}

func (k *Keyring) leave() { <-k.turn }

// report raises the alarm when a refusal begins, and passes err on.
func (k *Keyring) report(ctx context.Context, err error) error {
	if errors.Is(err, ErrForged) && !k.alarmed.Swap(true) && k.options.Alarm != nil {
		k.options.Alarm(ctx, err)
	}
	return err
}

// refresh is for who has the turn.
func (k *Keyring) refresh(ctx context.Context) error {
	// Taken before the read: what is written during it may be missed.
	started := k.options.Clock()
	before := k.held.Load()
	keys, err := k.read(ctx, before)
	if err != nil {
		if before != nil && !before.refused && errors.Is(err, ErrForged) {
			k.held.Store(&held{keys: before.keys, checked: before.checked, refused: true})
		}
		return err
	}
	k.held.Store(&held{keys: keys, checked: started})
	k.alarmed.Store(false)
	for _, g := range keys.generations {
		k.seen[g.row.document.Generation] = g.row.mark()
	}
	return nil
}

func (k *Keyring) read(ctx context.Context, before *held) (*Keys, error) {
	rows, err := readRows(ctx, k.options.Store)
	if errors.Is(err, ErrMissing) && before != nil {
		return nil, fmt.Errorf("%w: all generations are gone: %w", ErrForged, err)
	}
	if err != nil {
		return nil, err
	}
	var keys *Keys
	if before != nil {
		keys = before.keys
	}
	if keys.madeFrom(rows) {
		return keys, nil
	}
	if err := k.believe(ctx, rows); err != nil {
		return nil, err
	}
	return k.open(ctx, rows, keys)
}
