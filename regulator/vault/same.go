package vault

import (
	"fmt"
	"reflect"
)

// Same names the first member in which a record differs from what its entries say.
func Same(where string, want, got any) error {
	if d := differ("", reflect.ValueOf(want), reflect.ValueOf(got)); d != nil {
		d.Where = where
		return d
	}
	return nil
}

func differ(name string, w, g reflect.Value) *Difference {
	found := func(expected, found any) *Difference {
		return &Difference{Rule: "record-content", Expected: fmt.Sprintf("%s %v", name, expected), Found: fmt.Sprint(found)}
	}
	switch {
	case w.Type() != g.Type():
		return found(w.Type(), g.Type())
	case w.Kind() == reflect.Pointer:
		if w.IsNil() || g.IsNil() {
			if w.IsNil() != g.IsNil() {
				return found(w, g)
			}
			return nil
		}
		return differ(name, w.Elem(), g.Elem())
	case w.Kind() == reflect.Struct:
		for i := range w.NumField() {
			if d := differ(w.Type().Field(i).Name, w.Field(i), g.Field(i)); d != nil {
				return d
			}
		}
		return nil
	case w.Kind() == reflect.Slice:
		for i := range min(w.Len(), g.Len()) {
			if d := differ(name, w.Index(i), g.Index(i)); d != nil {
				return d
			}
		}
		if w.Len() != g.Len() {
			return found(w.Len(), g.Len())
		}
		return nil
	case !w.Equal(g):
		return found(w, g)
	}
	return nil
}
