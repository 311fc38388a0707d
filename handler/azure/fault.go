package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// maxCode is the longest error code that a Fault repeats.
const maxCode = 64

// Fault is how a call to a service failed, told without what was asked: the
// SDK's own error texts hold URLs with row keys and whole response bodies, so
// no adapter wraps them.
type Fault struct {
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Code is the service's error code, letters and digits only, or "".
	Code string
	// cause is a network, TLS, credential or context error whose text names
	// hosts and addresses at most.
	cause error
}

// Inspect reduces an error of an SDK client to a Fault.
func Inspect(err error) *Fault {
	if existing, ok := errors.AsType[*Fault](err); ok {
		return existing
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return &Fault{Status: answer.StatusCode, Code: cleanCode(answer.ErrorCode)}
	}
	return &Fault{cause: harmless(err)}
}

// NewFault is a Fault read from an answer that the SDK does not decode.
func NewFault(status int, code string) *Fault {
	return &Fault{Status: status, Code: cleanCode(code)}
}

// Error implements error.
func (f *Fault) Error() string {
	switch {
	case f.cause != nil:
		return f.cause.Error()
	case f.Code != "":
		return fmt.Sprintf("status %d, code %s", f.Status, f.Code)
	default:
		return fmt.Sprintf("status %d", f.Status)
	}
}

// Unwrap gives the cause where there was no answer; context errors stay
// visible to errors.Is.
func (f *Fault) Unwrap() error { return f.cause }

// Refused reports whether the service will refuse the same request for ever,
// as opposed to being unable or unwilling to answer now.
func (f *Fault) Refused() bool {
	return f.Status == http.StatusBadRequest || f.Status == http.StatusRequestEntityTooLarge
}

// CredentialError is a failure to get a token, told without any secret.
type CredentialError struct {
	// Step says what was tried.
	Step string
	// Code is the authority's error code, or "".
	Code string
	// Cause is a context or network error, or nil.
	Cause error
}

// Error implements error.
func (e *CredentialError) Error() string {
	text := "getting a token: " + e.Step
	if e.Code != "" {
		text += ": " + e.Code
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *CredentialError) Unwrap() error { return e.Cause }

// NewCredentialError keeps of err what may be told.
func NewCredentialError(step, code string, err error) *CredentialError {
	return &CredentialError{Step: step, Code: cleanCode(code), Cause: harmless(err)}
}

// errOpaque stands for an error whose text nobody vouches for.
var errOpaque = errors.New("no usable answer")

// harmless finds the innermost error whose text is known to hold no request.
func harmless(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, errTooLarge, errRedirect, errPlain, errAddress,
		io.ErrUnexpectedEOF, io.EOF,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	if e, ok := errors.AsType[*CredentialError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if errors.Is(err, errHost) {
		return errHost
	}
	return errOpaque
}

// cleanCode lets a code through that is a code, a word of letters and digits,
// and nothing that could carry content.
func cleanCode(code string) string {
	if code == "" || len(code) > maxCode || !isLetter(code[0]) {
		return ""
	}
	for i := range len(code) {
		if b := code[i]; !isLetter(b) && (b < '0' || b > '9') && b != '_' {
			return ""
		}
	}
	return code
}

func isLetter(b byte) bool {
	return 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}
