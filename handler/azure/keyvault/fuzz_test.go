package keyvault

import (
	"errors"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// FuzzKeyID: a key id that is accepted is this vault's, this key's, and the one
// spelling of a version; and what is not is never recorded.
func FuzzKeyID(f *testing.F) {
	version := strings.Repeat("0a", 16)
	const prefix = "https://vault.example.com/keys/kek/"
	for _, seed := range []string{
		prefix + version, prefix + strings.ToUpper(version), "https://VAULT.example.com/keys/kek/" + version, "http://vault.example.com/keys/kek/" + version,
		"https://vault.example.com.evil.org/keys/kek/" + version, "https://u@vault.example.com/keys/kek/" + version, prefix + version + "?x", prefix + version + "#x",
		"https://vault.example.com/keys/kek2/" + version, "https://vault.example.com/keys/./kek/" + version, prefix + "%30a" + version[3:], prefix, "", ":",
	} {
		f.Add(seed)
	}
	k := key{&Vault{host: "vault.example.com"}, "kek"}
	f.Fuzz(func(t *testing.T, text string) {
		id := azkeys.ID(text)
		ref, err := k.parse(&id)
		if err != nil {
			if !errors.Is(err, ErrAnswer) || err.Error() != ErrAnswer.Error() || ref.Version != "" {
				t.Errorf("%v, %v", ref, err)
			}
			return
		}
		if ref.Name != "kek" || !keyVersion.MatchString(ref.Version) || k.fits(ref) != nil {
			t.Errorf("%q gives %v", text, ref)
		}
		// Host names have no case; all else stands as it must.
		if written := prefix + ref.Version; len(text) != len(written) || !strings.EqualFold(text, written) || !strings.HasSuffix(text, "/keys/kek/"+ref.Version) {
			t.Errorf("%q is taken for %q", text, written)
		}
	})
}
