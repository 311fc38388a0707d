package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"secureapi/handler/azure"
	"secureapi/handler/keyring"
	"secureapi/handler/tokenvault"
	"secureapi/scripts/devstack/stack"
)

// stored is the handler over the stack's storage, in this process and behind
// a port of its own.
type stored struct {
	*caller
	*adapters
	journal *journal
	// requests counts what the services were sent, retries included.
	toData, toAudit, toVault atomic.Int64
}

// observe counts the tries of one service's calls.
func observe(n *atomic.Int64) azure.Observer {
	return func(_ context.Context, call azure.Call) { n.Add(int64(call.Tries)) }
}

// newStored wires the handler as main does, and serves it until stop.
func newStored(ctx context.Context, s *stack.Stack, callers int) (st *stored, stop func() error, err error) {
	a, err := newAdapters(s)
	if err != nil {
		return nil, nil, err
	}
	st = &stored{adapters: a, journal: newJournal(true)}
	open := func(account, name string, n *atomic.Int64) *recorder {
		store, openErr := a.table(account, name, observe(n))
		err = errors.Join(err, openErr)
		return &recorder{table: store, name: name, journal: st.journal}
	}
	data := s.DataAccount()
	p := handlerParts{
		records: open(data, "records", &st.toData), operations: open(data, "operations", &st.toData),
		audit:    open(stack.AuditAccount, "audit", &st.toAudit),
		erasures: open(stack.AuditAccount, tokenvault.ErasuresTable, &st.toAudit).table, keys: open(data, keyring.Table, &st.toData).table,
	}
	if err != nil {
		return nil, nil, err
	}
	if p.wrapper, p.signer, err = a.vault(observe(&st.toVault)); err != nil {
		return nil, nil, err
	}
	handler, err := newAPI(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	send, stopServing, err := serve(ctx, handler.echo, callers)
	if err != nil {
		return nil, nil, errors.Join(err, handler.log.Close(ctx))
	}
	st.caller = &caller{api: handler, send: send}
	return st, func() error {
		err := errors.Join(stopServing(), handler.log.Close(ctx))
		a.transport.Close()
		return err
	}, nil
}

// workload is a kind of call that the callers make in turn.
type workload struct {
	name string
	call func(worker int) error
	// budget is what one call may ask of the data account.
	budget float64
}

// results are one workload's rounds.
type results struct {
	handler, raw         series // calls a second
	handlerBusy, rawBusy series // share of the time in which storage computed
	calls, data, auditor int64  // requests
}

// measureThroughput lets the handler work and the raw loop repeat what it
// asked, in turn.
func measureThroughput(ctx context.Context, o options, s *stack.Stack, r *report) (err error) {
	st, stop, err := newStored(ctx, s, o.callers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	raw, err := newReplay(ctx, st.adapters)
	if err != nil {
		return err
	}
	tokens := make([]string, o.callers)
	for i := range tokens {
		if tokens[i], err = st.tokenize(subjectName(i), true); err != nil {
			return err
		}
	}
	st.toVault.Store(0)
	work := []workload{
		{opTokenize, func(w int) error { _, err := st.tokenize(subjectName(w), false); return err }, 1},
		{opKeyed, func(w int) error { _, err := st.tokenize(subjectName(w), true); return err }, 2},
		{opReveal, func(w int) error { return st.reveal(tokens[w]) }, 1},
	}
	section := r.section(strconv.Itoa(o.callers) + " callers, storage of the local stack")
	calls := int64(0)
	r.requests.Callers, r.requests.Data, r.requests.Audit = o.callers, map[string]float64{}, map[string]float64{}
	for _, w := range work {
		var got results
		for range o.rounds {
			if err := st.round(ctx, o, w, raw, &got); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
		got.report(w, section)
		r.requests.Data[w.name] = float64(got.data) / float64(got.calls)
		r.requests.Audit[w.name] = float64(got.auditor) / float64(got.calls)
		calls += got.calls
	}
	n := st.toVault.Load()
	r.requests.KeyVault, r.requests.Operations = n, calls
	section.add(fmt.Sprintf("Key Vault calls in %d warm operations", calls), "0", strconv.FormatInt(n, 10), judge(n == 0))
	return nil
}

// round is one run of the handler and one of the raw loop.
func (st *stored) round(ctx context.Context, o options, w workload, raw *replay, got *results) error {
	_, _ = st.journal.take()
	data, auditor := st.toData.Load(), st.toAudit.Load()
	took, busy, err := st.timed(func() (time.Duration, error) {
		return parallel(ctx, o.callers, o.stored, func(_, worker int) error { return w.call(worker) })
	})
	if err != nil {
		return err
	}
	got.data += st.toData.Load() - data
	got.auditor += st.toAudit.Load() - auditor
	got.calls += int64(o.stored)
	got.handler = append(got.handler, float64(o.stored)/took.Seconds())
	got.handlerBusy = append(got.handlerBusy, busy)
	kept, _ := st.journal.take()
	took, busy, err = st.timed(func() (time.Duration, error) { return raw.run(ctx, o.callers, kept) })
	if err != nil {
		return fmt.Errorf("raw loop: %w", err)
	}
	got.raw = append(got.raw, float64(o.stored)/took.Seconds())
	got.rawBusy = append(got.rawBusy, busy)
	return nil
}

// timed says of a run how long it took and for what share of it the storage
// process computed. Storage is one thread here: near 1 it is the limit, and far
// below it, in the raw loop too, the machine had other work.
func (st *stored) timed(run func() (time.Duration, error)) (took time.Duration, busy float64, err error) {
	before, err := cpuTimeOf(st.stack.Azurite.PID())
	if err != nil {
		return 0, 0, err
	}
	if took, err = run(); err != nil {
		return 0, 0, err
	}
	after, err := cpuTimeOf(st.stack.Azurite.PID())
	return took, (after - before).Seconds() / took.Seconds(), err
}

func (g *results) report(w workload, s *section) {
	share := g.handler.over(g.raw)
	s.tell(w.name+": calls a second", fmt.Sprintf("%.0f, raw loop %.0f", g.handler.median(), g.raw.median()))
	s.add(w.name+" / raw aztables loop", ">= 0.90", share.String(), judge(share.median() >= 0.9))
	s.tell(w.name+": storage busy", g.handlerBusy.String()+", raw loop "+g.rawBusy.String())
	perCall := float64(g.data) / float64(g.calls)
	// The keyring's copy is renewed from its table once in a while.
	s.add(w.name+": requests to the data account, a call", fmt.Sprintf("%.0f", w.budget),
		fmt.Sprintf("%.3f", perCall), judge(perCall < w.budget+0.01))
	audits := float64(g.auditor) / float64(g.calls)
	s.add(w.name+": requests to the audit account, a call", "< 0.20", fmt.Sprintf("%.3f", audits), judge(audits < 0.2))
}

// parallel makes n calls with so many workers and gives the time of all.
func parallel(ctx context.Context, workers, n int, call func(i, worker int) error) (time.Duration, error) {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	started := time.Now()
	for worker := range workers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := errors.Join(ctx.Err(), call(i, worker)); err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	return time.Since(started), err
}
