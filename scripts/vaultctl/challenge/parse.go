package challenge

import (
	"fmt"
	"strings"
)

// one is a challenge of RFC 9110, section 11.3, with parameters; the token68
// form has none.
type one struct {
	scheme string
	params map[string]string
}

// parse reads a WWW-Authenticate value: challenges, and their parameters, are
// both separated by commas, so that a word is a scheme if no "=" follows it.
func parse(value string) ([]one, error) {
	var all []one
	r := &reader{rest: value}
	for r.skip(" \t,"); r.rest != ""; r.skip(" \t,") {
		word := r.token()
		if word == "" {
			return nil, fmt.Errorf("%w: a name is missing", ErrMalformed)
		}
		r.skip(" \t")
		if !strings.HasPrefix(r.rest, "=") {
			all = append(all, one{word, map[string]string{}})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%w: a parameter without a scheme", ErrMalformed)
		}
		r.rest = r.rest[1:]
		r.skip(" \t")
		text, ok := r.value()
		name := strings.ToLower(word)
		params := all[len(all)-1].params
		if _, twice := params[name]; twice || !ok {
			return nil, fmt.Errorf("%w: parameter %s", ErrMalformed, name)
		}
		params[name] = text
		r.skip(" \t")
		if r.rest != "" && r.rest[0] != ',' {
			return nil, fmt.Errorf("%w: no comma after parameter %s", ErrMalformed, name)
		}
	}
	return all, nil
}

type reader struct{ rest string }

func (r *reader) skip(set string) { r.rest = strings.TrimLeft(r.rest, set) }

// token reads a token of RFC 9110, section 5.6.2.
func (r *reader) token() string {
	end := strings.IndexFunc(r.rest, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
	if end < 0 {
		end = len(r.rest)
	}
	word := r.rest[:end]
	r.rest = r.rest[end:]
	return word
}

// value reads a token or a quoted string.
func (r *reader) value() (string, bool) {
	if !strings.HasPrefix(r.rest, `"`) {
		word := r.token()
		return word, word != ""
	}
	var text strings.Builder
	for i := 1; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			r.rest = r.rest[i+1:]
			return text.String(), true
		case c == '\\' && i+1 < len(r.rest):
			i++
			text.WriteByte(r.rest[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", false
		default:
			text.WriteByte(c)
		}
	}
	return "", false
}
