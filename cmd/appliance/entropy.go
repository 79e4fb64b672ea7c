package appliance

import (
	"context"
	"errors"
	"fmt"

	"countroom/games/house"
	"countroom/hardware/entropy"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

// openSources makes the sources that are named; the kernel's where none is.
func openSources(uris []string) ([]entropy.Source, error) {
	if len(uris) == 0 {
		return []entropy.Source{entropy.Kernel{}}, nil
	}
	var list []entropy.Source
	for _, uri := range uris {
		s, err := entropy.Parse(uri)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// sourcesOf are the sources of a Pool, for the house.
type sourcesOf struct{ *entropy.Pool }

func (s sourcesOf) Tend(ctx context.Context) { s.Pool.Tend(ctx) }

func (s sourcesOf) Look() house.Look {
	look := house.Look{Minimum: uint64(s.Minimum())}
	for _, st := range s.States() {
		look.Sources = append(look.Sources, house.Seen{Name: st.Name, Group: st.Group, Reason: st.Reason, Error: st.Failure})
	}
	return look
}

// secretsOf has a Pool make the house's secrets.
func secretsOf(pool *entropy.Pool) func(context.Context) ([32]byte, []epoch.Source, error) {
	return func(ctx context.Context) ([32]byte, []epoch.Source, error) {
		secret, reports, err := pool.Secret(ctx)
		if errors.Is(err, entropy.ErrTooFew) {
			return secret, nil, fmt.Errorf("%w: %w", noise.ErrStopped, err)
		}
		if err != nil {
			return secret, nil, err
		}
		sources := make([]epoch.Source, len(reports))
		for i, r := range reports {
			sources[i] = epoch.Source{
				Assurance: r.Assurance, Bytes: uint64(r.Bytes), Conditioned: r.Conditioned, Group: r.Group, Healthy: r.Healthy, Name: r.Name, Physical: r.Physical,
			}
		}
		return secret, sources, nil
	}
}
