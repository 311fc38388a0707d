package customhandler

import (
	"context"
	"errors"
	"net/http"
)

// Observer hears of what an invocation's caller cannot be told: err is a
// refused request (ErrNotInvocation, ErrBody: somebody forges invocations, or
// the host has changed), what the function returned, or a failed write. It
// must not block.
type Observer func(ctx context.Context, function string, err error)

// Queue serves a queue function: it decodes the delivery and calls do once.
// A nil error completes the message, also when do recorded a permanent failure;
// any other has it delivered again, so it is right only where a retry helps.
// Deliveries repeat and overlap: do must be idempotent.
func Queue(function, binding string, observe Observer, do func(context.Context, Invocation) error) http.Handler {
	return serve(function, observe, func(r *http.Request) error {
		in, err := DecodeQueue(r, function, binding)
		if err != nil {
			return err
		}
		return run(r.Context(), in, do)
	})
}

// Timer serves a timer function. The host does not retry a failed tick: the
// next one must find the work that this one left.
func Timer(function, binding string, observe Observer, do func(context.Context, TimerInvocation) error) http.Handler {
	return serve(function, observe, func(r *http.Request) error {
		in, err := DecodeTimer(r, function, binding)
		if err != nil {
			return err
		}
		return run(r.Context(), in, do)
	})
}

// workError marks an error as the function's own, so that a function that
// returns ErrBody from some inner call is not taken for a bad request.
type workError struct{ err error }

func (e workError) Error() string { return e.err.Error() }
func (e workError) Unwrap() error { return e.err }

func run[In any](ctx context.Context, in In, do func(context.Context, In) error) error {
	if err := do(ctx, in); err != nil {
		return workError{err}
	}
	return nil
}

// serve is the one exit of all invocations.
func serve(function string, observe Observer, call func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := call(r)
		if err != nil {
			observe(r.Context(), function, err)
		}
		if err := answer(w, err); err != nil {
			observe(r.Context(), function, err)
		}
	})
}

func answer(w http.ResponseWriter, err error) error {
	var own workError
	switch {
	case err == nil:
		return WriteSuccess(w, Result{})
	case errors.As(err, &own):
		return WriteFailure(w, http.StatusInternalServerError, "The function failed.")
	case errors.Is(err, ErrNotInvocation):
		// As little as an unknown path says: the caller is not the host.
		return WriteFailure(w, http.StatusNotFound, "Not Found")
	default:
		return WriteFailure(w, http.StatusBadRequest, "Malformed invocation.")
	}
}
