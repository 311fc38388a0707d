package entra

import "crypto/rsa"

// SigningKey is the key with which a tenant signs now, its private part included:
// for tests that need what no issuer gives out, such as a signature whose only
// fault is its padding.
func (s *Server) SigningKey(tenant string) (private *rsa.PrivateKey, id string, ok bool) {
	key, ok := s.ring.current(tenant)
	return key.private, key.id, ok
}
