package par

import (
	"context"
	"math/big"
	"testing"

	"countroom/games/slots"
)

// The figure that the house shows with a bundled game is the exact one.
func TestBundledReturnIsExact(t *testing.T) {
	d := slots.Bundled()
	m, err := slots.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	sheet, err := Compute(context.Background(), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	scale := big.NewInt(10_000_000_000)
	cut := new(big.Int).Mul(sheet.Return.Num(), scale)
	cut.Quo(cut, sheet.Return.Denom())
	want := new(big.Rat).SetFrac(cut, scale).FloatString(10)
	if got, ok := slots.Return(d.Hash()); !ok || got != want {
		t.Fatalf("the return of %s is shown as %q, it is %s", d.ID, got, want)
	}
	// What play is held against errs on the side of fewer alarms.
	theory, ok := slots.TheoryOf(d.Hash())
	million := big.NewInt(1_000_000)
	cut.Quo(new(big.Int).Mul(sheet.Return.Num(), million), sheet.Return.Denom())
	up := new(big.Int).Mul(sheet.Variance.Num(), million)
	up.Add(up, sheet.Variance.Denom()).Sub(up, big.NewInt(1)).Quo(up, sheet.Variance.Denom())
	if !ok || theory.ReturnMillionths != cut.Uint64() || theory.VarianceMillionths != up.Uint64() {
		t.Fatalf("the theory of %s is %+v, it is %s and %s millionths", d.ID, theory, cut, up)
	}
}
