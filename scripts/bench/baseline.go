package main

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
)

// The sizes of a token row's seal: the record of an e-mail address, and the
// header and place that it is bound to.
const (
	sealPlaintext  = 90
	sealAdditional = 420
)

// verifies gives one RSA-2048 PKCS #1 v1.5 verification, of a token's length.
func verifies(key *rsa.PrivateKey, token string) (func() error, error) {
	digest := sha256.Sum256([]byte(token))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return func() error {
		digest := sha256.Sum256([]byte(token))
		return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature)
	}, nil
}

// seals is one AES-256-GCM seal under a key of its own, as each record has,
// with a random nonce. What derives that key is not in it.
func seals() error {
	key, plaintext, additional := make([]byte, 32), make([]byte, sealPlaintext), make([]byte, sealAdditional)
	_, _ = rand.Read(key) // never fails: it ends the process instead
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return fmt.Errorf("cipher mode: %w", err)
	}
	if len(aead.Seal(nil, nil, plaintext, additional)) != sealPlaintext+aead.Overhead() { //nolint:gosec // G407: nil asks for a random nonce
		return errors.New("seal of a wrong length")
	}
	return nil
}

// bareEcho is an echo server that reads and writes the JSON of a tokenize call
// with echo's own means, and does nothing else.
func bareEcho() http.Handler {
	e := echo.New()
	e.POST("/echo", func(c echo.Context) error {
		var item struct {
			Class   string `json:"class"`
			Value   string `json:"value"`
			Subject string `json:"subject"`
		}
		if err := c.Bind(&item); err != nil {
			return err
		}
		return c.JSON(http.StatusCreated, map[string]string{"token": item.Value, "class": item.Class})
	})
	return e
}

// echoes gives one JSON round trip to the bare echo server.
func echoes(send sender) func() error {
	return func() error {
		status, _, err := send("/echo", "", "", `{"class":"email","value":"person.123456@example.com","subject":"customer-7"}`)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("echo answers %d", status)
		}
		return err
	}
}

// bareEchoes gives the round trip with and without a socket.
func bareEchoes(ctx context.Context) (inProcess, onSocket, stop func() error, err error) {
	e := bareEcho()
	send, stop, err := serve(ctx, e, 1)
	if err != nil {
		return nil, nil, nil, err
	}
	return echoes(direct(ctx, e)), echoes(send), stop, nil
}
