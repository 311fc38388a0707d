package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const secret = "RowKey='0123456789abcdef'"

func TestInspectTellsNoRequest(t *testing.T) {
	address := &url.URL{Scheme: "https", Host: "devdata.table.core.windows.net", Path: "/records(" + secret + ")"}
	answer := &azcore.ResponseError{
		ErrorCode: "UpdateConditionNotSatisfied", StatusCode: http.StatusPreconditionFailed,
		RawResponse: &http.Response{
			StatusCode: http.StatusPreconditionFailed, Request: &http.Request{Method: http.MethodPut, URL: address},
			Body: io.NopCloser(strings.NewReader(secret)),
		},
	}
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for name, c := range map[string]struct {
		err  error
		want string
		is   error
	}{
		"an answer":     {answer, "status 412, code UpdateConditionNotSatisfied", nil},
		"a wrapped one": {fmt.Errorf("%s: %w", secret, answer), "status 412, code UpdateConditionNotSatisfied", nil},
		"a strange code": {
			&azcore.ResponseError{ErrorCode: secret, StatusCode: 400}, "status 400", nil,
		},
		"no connection": {&url.Error{Op: "Get", URL: address.String(), Err: dial}, "dial tcp: connection refused", dial},
		"cancelled":     {&url.Error{Op: "Get", URL: address.String(), Err: context.Canceled}, "context canceled", context.Canceled},
		"cut off":       {fmt.Errorf("%s: %w", secret, io.ErrUnexpectedEOF), "unexpected EOF", io.ErrUnexpectedEOF},
		"anything":      {errors.New(secret), errOpaque.Error(), nil},
		"no token": {
			fmt.Errorf("%s: %w", secret, NewCredentialError("managed identity", "invalid_request", errors.New(secret))),
			"getting a token: managed identity: invalid_request: no usable answer", nil,
		},
	} {
		fault := Inspect(c.err)
		if fault.Error() != c.want {
			t.Errorf("%s: %q, want %q", name, fault, c.want)
		}
		if c.is != nil && !errors.Is(fault, c.is) {
			t.Errorf("%s: lost %v", name, c.is)
		}
		if again := Inspect(fmt.Errorf("again: %w", fault)); again != fault {
			t.Errorf("%s: inspected twice gives %v", name, again)
		}
	}
}

func TestCleanCode(t *testing.T) {
	for code, want := range map[string]string{
		"EntityAlreadyExists": "EntityAlreadyExists", "invalid_client": "invalid_client", "AADSTS700016": "AADSTS700016",
		"": "", "4111111111111111": "", "a b": "", "a\nb": "", "é": "", strings.Repeat("a", 65): "",
	} {
		if got := cleanCode(code); got != want {
			t.Errorf("cleanCode(%q) = %q, want %q", code, got, want)
		}
	}
}
