package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"secureapi/handler/authz"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
)

// subjectsKnown is the number of data subjects that warm calls are about.
const subjectsKnown = 64

// The names of what is measured; socket is appended where a socket carries it.
const (
	opVerify   = "RSA-2048 PKCS #1 v1.5 verify"
	opSeal     = "AES-256-GCM seal"
	opEcho     = "bare echo JSON round trip"
	opTokenize = "tokenize"
	opKeyed    = "tokenize with Idempotency-Key"
	opFresh    = "tokenize, new subject"
	opReveal   = "reveal"
	opFirst    = "tokenize, access token seen for the first time"
	opCached   = "authenticate, access token seen before"
	opVerified = "authenticate, access token seen for the first time"
	socket     = ", over a socket"
)

// measured is one operation of a round, in turn. times makes short ones long
// enough for the clock of the process.
type measured struct {
	name  string
	times int
	do    func() error
}

// memory is the handler over memory stores.
type memory struct {
	*api
	vault   *memvault.Vault
	journal *journal
	tokens  []string // of warm subjects
}

// newMemory makes a fresh handler; vault keys are costly and are made once.
func newMemory(ctx context.Context, vault *memvault.Vault) (*memory, error) {
	j := newJournal(false)
	over := func(name string) *recorder { return &recorder{table: memstore.New(), name: name, journal: j} }
	a, err := newAPI(ctx, handlerParts{
		records: over("records"), operations: over("operations"), audit: over("audit"), keys: memstore.New(), erasures: memstore.New(),
		wrapper: vault, signer: vault, bootstrap: true,
	})
	if err != nil {
		return nil, err
	}
	return &memory{api: a, vault: vault, journal: j}, nil
}

// warm makes the subjects known and reads each back once.
func (m *memory) warm(c *caller) error {
	for i := range subjectsKnown {
		token, err := c.tokenize(subjectName(i), i%2 == 0)
		if err != nil {
			return err
		}
		if err := c.reveal(token); err != nil {
			return err
		}
		m.tokens = append(m.tokens, token)
	}
	return nil
}

func subjectName(i int) string { return "customer-" + strconv.Itoa(i) }

// calls are the handler's operations through one sender.
func (m *memory) calls(c *caller, suffix string) []measured {
	i := 0
	turn := func() int { i++; return i % subjectsKnown }
	return []measured{
		{opTokenize + suffix, 1, func() error { _, err := c.tokenize(subjectName(turn()), false); return err }},
		{opKeyed + suffix, 1, func() error { _, err := c.tokenize(subjectName(turn()), true); return err }},
		{opFresh + suffix, 1, func() error { _, err := c.tokenize("", false); return err }},
		{opReveal + suffix, 1, func() error { return c.reveal(m.tokens[turn()]) }},
	}
}

// authentications are with and without the cache of verified tokens: a token
// that is seen for the first time is not in it. Minting is not measured.
func (m *memory) authentications(ctx context.Context, c *caller, calls int) ([]measured, error) {
	unseen := make([]string, 2*calls)
	for i := range unseen {
		if err := m.mint(authz.Writer, &unseen[i]); err != nil {
			return nil, err
		}
	}
	next, i := -1, 0
	first := func() string { next++; return unseen[next] }
	present := func(token string) error {
		_, err := m.auth.Authenticate(ctx, []string{"Bearer " + token})
		return err
	}
	return []measured{
		{opCached, 1, func() error { return present(m.writer) }},
		{opVerified, 1, func() error { return present(first()) }},
		{opFirst, 1, func() error { i++; _, err := c.tokenizeAs(first(), subjectName(i%subjectsKnown), false); return err }},
	}, nil
}

// tally is what the rounds give.
type tally struct {
	cpu        map[string]*series
	asked      map[string]map[string]int // operation -> table -> transactions and reads
	operations map[string]int
	vaultCalls int
}

func newTally() *tally {
	return &tally{cpu: map[string]*series{}, asked: map[string]map[string]int{}, operations: map[string]int{}}
}

func (t *tally) of(name string) series {
	if s := t.cpu[name]; s != nil {
		return *s
	}
	return nil
}

// perCall is how often one call asked a table.
func (t *tally) perCall(name, table string) float64 {
	if t.operations[name] == 0 {
		return 0
	}
	return float64(t.asked[name][table]) / float64(t.operations[name])
}

// measureCPU is the part cpu. With one P nothing else of this process runs
// beside what is measured, and what its calls leave to the background, audit
// commits and garbage collection, is in their time.
func measureCPU(ctx context.Context, o options, r *report) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	vault, err := memvault.New()
	if err != nil {
		return err
	}
	t := newTally()
	for range o.rounds {
		if err := cpuRound(ctx, o, vault, t); err != nil {
			return err
		}
	}
	reportCPU(t, r.section("CPU, one core, memory stores"))
	if err := reportCounts(t, r.section("Asked of storage and vault, memory stores")); err != nil {
		return err
	}
	if o.profile == 0 {
		return nil
	}
	shares, total, err := profileTokenize(ctx, o, vault)
	if err != nil {
		return err
	}
	reportShares(shares, total, r.section("Where a tokenize with Idempotency-Key goes, without a socket"))
	return nil
}

// cpuRound measures every operation once, on a fresh handler, so that what
// earlier rounds stored slows none.
func cpuRound(ctx context.Context, o options, vault *memvault.Vault, t *tally) (err error) {
	m, err := newMemory(ctx, vault)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.log.Close(ctx)) }()
	send, stop, err := serve(ctx, m.echo, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	inProcess, onSocket := &caller{api: m.api, send: direct(ctx, m.echo)}, &caller{api: m.api, send: send}
	onSocket.next.Store(1 << 40) // values and keys of its own
	if err := m.warm(inProcess); err != nil {
		return err
	}
	verify, err := verifies(m.key, m.writer)
	if err != nil {
		return err
	}
	echoed, echoedOnSocket, stopEcho, err := bareEchoes(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopEcho()) }()
	list := []measured{
		{opVerify, 2, verify}, {opSeal, 20, seals}, {opEcho, 4, echoed}, {opEcho + socket, 1, echoedOnSocket},
	}
	authentications, err := m.authentications(ctx, inProcess, o.calls)
	if err != nil {
		return err
	}
	list = append(list, authentications...)
	list = append(list, m.calls(inProcess, "")...)
	list = append(list, m.calls(onSocket, socket)...)
	for _, op := range list {
		if err := t.measure(ctx, op, o.calls, m); err != nil {
			return fmt.Errorf("%s: %w", op.name, err)
		}
	}
	return nil
}

// measure takes the CPU time of calls of one operation.
func (t *tally) measure(ctx context.Context, op measured, calls int, m *memory) error {
	runtime.GC() // nobody pays for another's garbage
	_, _ = m.journal.take()
	vaultBefore := m.vault.Calls()
	before, err := cpuTime()
	if err != nil {
		return err
	}
	for range calls * op.times {
		if err := op.do(); err != nil {
			return err
		}
	}
	after, err := cpuTime()
	if err != nil {
		return err
	}
	if t.cpu[op.name] == nil {
		t.cpu[op.name], t.asked[op.name] = &series{}, map[string]int{}
	}
	t.cpu[op.name].note(after-before, calls*op.times)
	t.vaultCalls += m.vault.Calls() - vaultBefore
	t.operations[op.name] += calls * op.times
	_, count := m.journal.take()
	for table, n := range count {
		t.asked[op.name][table] += n
	}
	return ctx.Err()
}

func reportCPU(t *tally, s *section) {
	for _, name := range []string{opVerify, opSeal, opEcho, opEcho + socket} {
		s.tell(name, t.of(name).micros())
	}
	for _, name := range []string{opCached, opVerified, opFirst} {
		s.tell(name, t.of(name).micros())
	}
	s.tell("authenticate, with the cache / without", t.of(opCached).over(t.of(opVerified)).String())
	s.tell("tokenize, with the cache / without", t.of(opTokenize).over(t.of(opFirst)).String())
	for _, suffix := range []string{"", socket} {
		budget := t.of(opVerify).plus(1, t.of(opEcho+suffix)).plus(3, t.of(opSeal))
		s.tell("budget: verify + echo + 3 seals"+suffix, budget.micros())
		for _, name := range []string{opTokenize, opKeyed, opFresh, opReveal} {
			s.tell(name+suffix, t.of(name+suffix).micros())
		}
		for _, name := range []string{opTokenize, opKeyed} {
			ratio := t.of(name + suffix).over(budget)
			s.add(name+suffix+" / budget", "<= 1.00", ratio.String(), judge(ratio.median() <= 1))
		}
		for _, name := range []string{opFresh, opReveal} {
			s.tell(name+suffix+" / budget", t.of(name+suffix).over(budget).String())
		}
	}
}

// reportCounts compares what warm calls asked of tables and vault with the
// budget of the design.
func reportCounts(t *tally, s *section) error {
	total := 0
	for _, c := range []struct {
		name string
		want float64
	}{{opTokenize, 1}, {opKeyed, 2}, {opReveal, 1}} {
		if t.operations[c.name] == 0 {
			return errors.New("an operation was not measured: " + c.name)
		}
		got := t.perCall(c.name, "records") + t.perCall(c.name, "operations")
		s.add("warm "+c.name+": transactions and reads", fmt.Sprintf("%.0f", c.want), fmt.Sprintf("%.3f", got), judge(got <= c.want))
		total += t.operations[c.name] + t.operations[c.name+socket]
	}
	total += t.operations[opFresh] + t.operations[opFresh+socket]
	s.add(fmt.Sprintf("Key Vault calls in %d warm operations", total), "0", strconv.Itoa(t.vaultCalls), judge(t.vaultCalls == 0))
	return nil
}
