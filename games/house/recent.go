package house

import "sync"

// recent remembers facts that hold until they are dropped, the ones used lately, in
// bounded memory: when the young generation is full the old one is forgotten.
type recent[K comparable, V any] struct {
	mu         sync.RWMutex
	young, old map[K]V
	limit      int
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{young: map[K]V{}, old: map[K]V{}, limit: limit / 2}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.RLock()
	v, ok := r.young[k]
	if ok {
		r.mu.RUnlock()
		return v, true
	}
	v, ok = r.old[k]
	r.mu.RUnlock()
	if !ok {
		return v, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.old[k]; ok { // it was not dropped meanwhile
		r.keep(k, v)
	}
	return v, true
}

func (r *recent[K, V]) put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(k, v)
}

func (r *recent[K, V]) keep(k K, v V) {
	if len(r.young) >= r.limit {
		r.old, r.young = r.young, make(map[K]V, r.limit/4)
	}
	r.young[k] = v
}

// drop forgets a fact.
func (r *recent[K, V]) drop(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, k)
	delete(r.old, k)
}
