package drbg

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// Cases of the NIST CAVP vectors (CAVS 14.3, HMAC_DRBG, SHA-256, no prediction
// resistance). The published answer is that of the second generate call.
func TestKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		name, entropy, nonce, personalisation string
		fresh, freshAdditional                string
		additional                            [2]string
		want                                  string
	}{
		{
			name:    "no reseed, 0",
			entropy: "ca851911349384bffe89de1cbdc46e6831e44d34a4fb935ee285dd14b71a7488",
			nonce:   "659ba96c601dc69fc902940805ec0ca8",
			want: "e528e9abf2dece54d47c7e75e5fe302149f817ea9fb4bee6f4199697d04d5b89d54fbb978a15b5c443c9ec21036d2460" +
				"b6f73ebad0dc2aba6e624abf07745bc107694bb7547bb0995f70de25d6b29e2d3011bb19d27676c07162c8b5ccde0668" +
				"961df86803482cb37ed6d5c0bb8d50cf1f50d476aa0458bdaba806f48be9dcb8",
		},
		{
			name:    "no reseed, 1",
			entropy: "79737479ba4e7642a221fcfd1b820b134e9e3540a35bb48ffae29c20f5418ea3",
			nonce:   "3593259c092bef4129bc2c6c9e19f343",
			want: "cf5ad5984f9e43917aa9087380dac46e410ddc8a7731859c84e9d0f31bd43655b924159413e2293b17610f211e09f770" +
				"f172b8fb693a35b85d3b9e5e63b1dc252ac0e115002e9bedfb4b5b6fd43f33b8e0eafb2d072e1a6fee1f159df9b51e6c" +
				"8da737e60d5032dd30544ec51558c6f080bdbdab1de8a939e961e06b5f1aca37",
		},
		{
			name:            "personalisation",
			entropy:         "5cacc68165a2e2ee20812f35ec73a79dbf30fd475476ac0c44fc6174cdac2b55",
			nonce:           "6f885496c1e63af620becd9e71ecb824",
			personalisation: "e72dd8590d4ed5295515c35ed6199e9d211b8f069b3058caa6670b96ef1208d0",
			want: "f1012cf543f94533df27fedfbf58e5b79a3dc517a9c402bdbfc9a0c0f721f9d53faf4aafdc4b8f7a1b580fcaa52338d4" +
				"bd95f58966a243cdcd3f446ed4bc546d9f607b190dd69954450d16cd0e2d6437067d8b44d19a6af7a7cfa8794e5fbd72" +
				"8e8fb2f2e8db5dd4ff1aa275f35886098e80ff844886060da8b1e7137846b23b",
		},
		{
			name:    "reseed",
			entropy: "06032cd5eed33f39265f49ecb142c511da9aff2af71203bffaf34a9ca5bd9c0d",
			nonce:   "0e66f71edc43e42a45ad3c6fc6cdc4df",
			fresh:   "01920a4e669ed3a85ae8a33b35a74ad7fb2a6bb4cf395ce00334a9c9a5a5d552",
			want: "76fc79fe9b50beccc991a11b5635783a83536add03c157fb30645e611c2898bb2b1bc215000209208cd506cb28da2a51" +
				"bdb03826aaf2bd2335d576d519160842e7158ad0949d1a9ec3e66ea1b1a064b005de914eac2e9d4f2d72a8616a802254" +
				"22918250ff66a41bd2f864a6a38cc5b6499dc43f7f2bd09e1e0f8f5885935124",
		},
		{
			name:            "reseed and additional input",
			entropy:         "05ac9fc4c62a02e3f90840da5616218c6de5743d66b8e0fbf833759c5928b53d",
			nonce:           "2b89a17904922ed8f017a63044848545",
			fresh:           "2791126b8b52ee1fd9392a0a13e0083bed4186dc649b739607ac70ec8dcecf9b",
			freshAdditional: "43bac13bae715092cf7eb280a2e10a962faf7233c41412f69bc74a35a584e54c",
			additional: [2]string{
				"3f2fed4b68d506ecefa21f3f5bb907beb0f17dbc30f6ffbba5e5861408c53a1e",
				"529030df50f410985fde068df82b935ec23d839cb4b269414c0ede6cffea5b68",
			},
			want: "02ddff5173da2fcffa10215b030d660d61179e61ecc22609b1151a75f1cbcbb4363c3a89299b4b63aca5e581e73c8604" +
				"91010aa35de3337cc6c09ebec8c91a6287586f3a74d9694b462d2720ea2e11bbd02af33adefb4a16e6b370fa0effd57d" +
				"607547bdcfbb7831f54de7073ad2a7da987a0016a82fa958779a168674b56524",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := New(unhex(t, c.entropy), unhex(t, c.nonce), unhex(t, c.personalisation))
			if err != nil {
				t.Fatal(err)
			}
			if c.fresh != "" {
				if err := d.Reseed(unhex(t, c.fresh), unhex(t, c.freshAdditional)); err != nil {
					t.Fatal(err)
				}
			}
			got := make([]byte, 128)
			for _, additional := range c.additional {
				if err := d.Generate(got, unhex(t, additional)); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, unhex(t, c.want)) {
				t.Errorf("got %x\nwant %s", got, c.want)
			}
		})
	}
	if err := SelfTest(); err != nil {
		t.Error(err)
	}
}

// The self-test finds a generator that is wrong in one bit, and one that is none.
func TestTheSelfTestFails(t *testing.T) {
	flipped := func(entropy, nonce, personalisation []byte) (*DRBG, error) {
		entropy[7] ^= 1
		return New(entropy, nonce, personalisation)
	}
	if err := selfTest(flipped); err == nil {
		t.Error("it passes with one bit of the entropy input flipped")
	}
	if err := selfTest(func(_, nonce, _ []byte) (*DRBG, error) { return New(nil, nonce, nil) }); !errors.Is(err, ErrLength) {
		t.Errorf("it says %v of a generator that cannot be made", err)
	}
	stuck := func(entropy, nonce, _ []byte) (*DRBG, error) {
		d, err := New(entropy, nonce, nil)
		d.Destroy()
		return d, err
	}
	if err := selfTest(stuck); !errors.Is(err, ErrNotInstantiated) {
		t.Errorf("it says %v of a generator that gives nothing", err)
	}
}

// A request that is no multiple of the block takes the head of the last block.
func TestRequestSizes(t *testing.T) {
	whole := make([]byte, 96)
	instantiate(t).generate(whole)
	for n := range len(whole) {
		part := make([]byte, n)
		instantiate(t).generate(part)
		if !bytes.Equal(part, whole[:n]) {
			t.Errorf("request of %d bytes: got %x, want %x", n, part, whole[:n])
		}
	}
}

func TestReseedIsDemanded(t *testing.T) {
	d := instantiate(t)
	d.calls = ReseedInterval // 2^48 calls are too many to make here
	out := make([]byte, 32)
	d.generate(out)
	before := bytes.Clone(out)
	if err := d.Generate(out, nil); !errors.Is(err, ErrReseedRequired) {
		t.Fatalf("call 2^48+1: got %v, want ErrReseedRequired", err)
	}
	if !bytes.Equal(out, before) {
		t.Error("a refused request changed the output")
	}
	if err := d.Reseed(make([]byte, MinEntropy), nil); err != nil {
		t.Fatal(err)
	}
	d.generate(out)
}

func TestLengthsAreChecked(t *testing.T) {
	long := make([]byte, MaxInput+1)
	for _, c := range []struct {
		name                            string
		entropy, nonce, personalisation int
	}{
		{"entropy too short", MinEntropy - 1, MinNonce, 0},
		{"entropy too long", MaxInput + 1, MinNonce, 0},
		{"nonce too short", MinEntropy, MinNonce - 1, 0},
		{"nonce too long", MinEntropy, MaxInput + 1, 0},
		{"personalisation too long", MinEntropy, MinNonce, MaxInput + 1},
	} {
		if _, err := New(long[:c.entropy], long[:c.nonce], long[:c.personalisation]); !errors.Is(err, ErrLength) {
			t.Errorf("%s: got %v, want ErrLength", c.name, err)
		}
	}
	d := instantiate(t)
	for name, err := range map[string]error{
		"short reseed":            d.Reseed(long[:MinEntropy-1], nil),
		"long reseed":             d.Reseed(long, nil),
		"long reseed addition":    d.Reseed(long[:MinEntropy], long),
		"long request":            d.Generate(make([]byte, MaxRequest+1), nil),
		"long generator addition": d.Generate(make([]byte, 32), long),
	} {
		if !errors.Is(err, ErrLength) {
			t.Errorf("%s: got %v, want ErrLength", name, err)
		}
	}
	// None of the refusals moved the state.
	got, want := make([]byte, 32), make([]byte, 32)
	d.generate(got)
	instantiate(t).generate(want)
	if !bytes.Equal(got, want) {
		t.Error("a refused call changed the state")
	}
	d.generate(make([]byte, MaxRequest))
}

func TestDestroyed(t *testing.T) {
	d := instantiate(t).DRBG
	d.Destroy()
	if *d != (DRBG{}) {
		t.Error("state left behind")
	}
	if err := d.Generate(make([]byte, 1), nil); !errors.Is(err, ErrNotInstantiated) {
		t.Errorf("Generate: got %v, want ErrNotInstantiated", err)
	}
	if err := d.Reseed(make([]byte, MinEntropy), nil); !errors.Is(err, ErrNotInstantiated) {
		t.Errorf("Reseed: got %v, want ErrNotInstantiated", err)
	}
}

type testDRBG struct {
	*DRBG
	t *testing.T
}

func instantiate(t *testing.T) testDRBG {
	t.Helper()
	d, err := New(make([]byte, MinEntropy), make([]byte, MinNonce), []byte("test"))
	if err != nil {
		t.Fatal(err)
	}
	return testDRBG{d, t}
}

func (d testDRBG) generate(out []byte) {
	d.t.Helper()
	if err := d.Generate(out, nil); err != nil {
		d.t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkGenerate32(b *testing.B) {
	d, err := New(make([]byte, MinEntropy), make([]byte, MinNonce), nil)
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 32)
	for b.Loop() {
		if err := d.Generate(out, nil); err != nil {
			b.Fatal(err)
		}
	}
}
