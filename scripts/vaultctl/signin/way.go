package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

// patience is how long a person may take.
const patience = 10 * time.Minute

// promptLogin is MSAL's PromptLogin, which its public package does not name.
const promptLogin = 1

var errAddress = errors.New("the authority's sign-in page is at no https address")

// Way is how a person signs in.
type Way struct {
	// Device uses the device code flow; else the browser of this machine.
	Device bool
	// Open opens the browser. An error is told to the person with the address.
	Open func(address string) error
	// Say tells the person what to do.
	Say func(text string)
	// Loopback allows sign-in pages at http://127.0.0.1: the local stack's.
	Loopback bool
}

func (w Way) acquire(ctx context.Context, c *Client, claims, who string) (public.AuthResult, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if w.Device {
		return w.byDevice(ctx, c, claims)
	}
	return w.byBrowser(ctx, c, claims, who)
}

func (w Way) byBrowser(ctx context.Context, c *Client, claims, who string) (public.AuthResult, error) {
	options := []public.AcquireInteractiveOption{public.WithOpenURL(w.show)}
	if claims != "" {
		// A step-up is a fresh sign-in, not a session that is still there.
		options = append(options, public.WithClaims(claims), public.WithLoginHint(who), public.WithPrompt(promptLogin))
	}
	result, err := c.msal.AcquireTokenInteractive(ctx, c.scopes, options...)
	if err != nil {
		return public.AuthResult{}, fail("signing in by browser", err)
	}
	return result, nil
}

// show opens the page, and always names it: the browser may open on a screen
// that nobody sees. The address holds no secret; PKCE's verifier stays here.
func (w Way) show(address string) error {
	if err := w.check(address); err != nil {
		return err
	}
	text := "Your browser opens to sign you in. If it does not, open this address on this machine:\n  " + address
	if err := w.Open(address); err != nil {
		text = "No browser could be started (" + err.Error() + "). Open this address on this machine, or use -device:\n  " + address
	}
	w.Say(text)
	return nil
}

func (w Way) check(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.User != nil || u.Host == "" {
		return errAddress
	}
	local := w.Loopback && u.Scheme == "http" && u.Hostname() == "127.0.0.1"
	if u.Scheme != "https" && !local {
		return errAddress
	}
	return nil
}

func (w Way) byDevice(ctx context.Context, c *Client, claims string) (public.AuthResult, error) {
	var options []public.AcquireByDeviceCodeOption
	if claims != "" {
		options = append(options, public.WithClaims(claims))
	}
	code, err := c.msal.AcquireTokenByDeviceCode(ctx, c.scopes, options...)
	if err != nil {
		return public.AuthResult{}, fail("asking for a device code", err)
	}
	if err := w.check(code.Result.VerificationURL); err != nil {
		return public.AuthResult{}, fail("asking for a device code", err)
	}
	w.Say(fmt.Sprintf("Open %s in a browser and enter the code %s (valid until %s).",
		code.Result.VerificationURL, code.Result.UserCode, code.Result.ExpiresOn.Local().Format("15:04")))
	result, err := code.AuthenticationResult(ctx)
	if err != nil {
		return public.AuthResult{}, fail("signing in by device code", err)
	}
	return result, nil
}
