package trial_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"countroom/games/slots"
	"countroom/games/trial"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/verdict"
)

var small = trial.Size{Samples: 1_000_000, BitSequences: 1, BitLength: sp80022.Least, GameSequences: 2, GameDraws: 10_000}

func secrets(seed byte) trial.Chance {
	r := rand.NewChaCha8([32]byte{seed})
	return trial.Chance{Origin: "house.example/one", Draws: 5000, Secret: func(context.Context) (s [32]byte, err error) {
		r.Read(s[:])
		return s, nil
	}}
}

func source(seed byte) trial.Source {
	r := rand.NewChaCha8([32]byte{seed})
	return trial.Source{Name: "linux-getrandom", Conditioned: true, MinEntropy: 8, Read: func(p []byte) error {
		r.Read(p)
		return nil
	}}
}

// A whole trial of a house without fault, over several epochs.
func TestTrial(t *testing.T) {
	ctx := context.Background()
	plan, err := trial.Plan(ctx, small, []trial.Source{source(1)}, secrets(2), []*slots.Definition{slots.Bundled()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := laboratory.Run(plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Outcome != verdict.Pass {
		t.Errorf("%s: %+v", r.Outcome, r.Runs[len(r.Runs)-1].Judgement)
	}
	g := r.Runs[0].Games[0]
	if g.Rounds < 20_000 || g.Draws < 5*g.Rounds {
		t.Errorf("%+v", g)
	}
	if g.Other != 0 {
		t.Errorf("%d draws have a range that is not examined", g.Other)
	}
}

// Secrets that are always the same give epochs that repeat one another, which the laboratory sees.
func TestTheSameSecretAgain(t *testing.T) {
	c := secrets(3)
	c.Secret = func(context.Context) ([32]byte, error) { return [32]byte{7}, nil }
	size := small
	size.BitSequences, size.GameSequences = 1, 6
	plan, err := trial.Plan(context.Background(), size, nil, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan.Bits = plan.Bits[:1] // the generator
	r, err := laboratory.Run(plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Outcome != verdict.Fail {
		t.Error(r.Outcome)
	}
}

func TestRawNoiseIsAssessed(t *testing.T) {
	s := source(4)
	s.Conditioned, s.MinEntropy = false, 6
	plan, err := trial.Plan(context.Background(), small, []trial.Source{s}, secrets(5), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Raw) != 1 || plan.Raw[0].Declared != 6 || plan.Raw[0].Samples != small.Samples || len(plan.Bits) != 2 {
		t.Errorf("%+v", plan)
	}
}

// A source that fails, and one who is tired of waiting, end the examination without a verdict.
func TestNoVerdict(t *testing.T) {
	lost := errors.New("the device is gone")
	s := source(6)
	s.Read = func([]byte) error { return lost }
	ctx, cancel := context.WithCancel(context.Background())
	plan, err := trial.Plan(ctx, small, []trial.Source{s}, secrets(7), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := laboratory.Run(plan, nil); !errors.Is(err, lost) {
		t.Error(err)
	}
	c := secrets(8)
	c.Secret = func(context.Context) ([32]byte, error) { return [32]byte{}, lost }
	plan, err = trial.Plan(ctx, small, nil, c, []*slots.Definition{slots.Bundled()})
	if err != nil {
		t.Fatal(err)
	}
	plan.Bits = nil
	if _, err := laboratory.Run(plan, nil); !errors.Is(err, lost) {
		t.Error(err)
	}
	cancel()
	if plan, err = trial.Plan(ctx, small, []trial.Source{source(9)}, secrets(10), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := laboratory.Run(plan, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
