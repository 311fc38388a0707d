package entra

// Publish adds entries to what a tenant publishes as its keys, as they are and
// however unfit: for tests of what a verifier must not take from a key set.
func (s *Server) Publish(tenant string, entries ...map[string]any) {
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	if s.ring.extra == nil {
		s.ring.extra = map[string][]map[string]any{}
	}
	s.ring.extra[tenant] = append(s.ring.extra[tenant], entries...)
}
