package stock

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/trillian"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// state is what is remembered over restarts.
type state struct {
	Name string `json:"name,omitempty"` // of the tree that this mirror makes, written before it is made
	Tree int64  `json:"tree,omitempty"`
	// The newest root that was compared.
	Size uint64 `json:"size"`
	Root string `json:"root,omitempty"` // hex
}

func (s *state) hash() []byte {
	h, _ := hex.DecodeString(s.Root) // readState looked at it
	return h
}

const stateName = "state.json"

func readState(dir string) (s state, err error) {
	path := filepath.Join(dir, stateName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, fmt.Errorf("%s: expected one JSON document", path)
	}
	if h, err := hex.DecodeString(s.Root); err != nil || (s.Size > 0) != (len(h) == 32) || s.Size == 0 && s.Root != "" || s.Tree < 0 {
		return s, fmt.Errorf("%s: a tree %d of size %d with root %.100q", path, s.Tree, s.Size, s.Root)
	}
	return s, nil
}

// write replaces the file whole and durably.
func (s *state) write(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, stateName)
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// open finds the tree that is fed, or makes it. Its name is written down first, so
// that what was made before a crash is found again.
func (f *Feeder) open(ctx context.Context) error {
	if f.opened {
		return nil
	}
	if f.state.Tree == 0 {
		tree, err := f.make(ctx)
		if err != nil {
			return err
		}
		f.state.Tree = tree.GetTreeId()
		if err := f.state.write(f.cfg.Dir); err != nil {
			return err
		}
		f.cfg.Log.Info("a tree of the stock Trillian is fed", "tree", f.state.Tree)
	}
	tree, err := call(ctx, f, "GetTree", f.admin.GetTree, &trillian.GetTreeRequest{TreeId: f.state.Tree})
	if err != nil {
		return err
	}
	if tree.GetTreeType() != trillian.TreeType_PREORDERED_LOG || tree.GetTreeState() != trillian.TreeState_ACTIVE || tree.GetDeleted() {
		return refuse(Tree, "tree %d is %v and %v: expected an active PREORDERED_LOG", f.state.Tree, tree.GetTreeType(), tree.GetTreeState())
	}
	// Whether it was begun is not asked: a stock server (v1.8.0) that is asked for a
	// root before the first one keeps a connection to its database for ever.
	_, err = call(ctx, f, "InitLog", f.log.InitLog, &trillian.InitLogRequest{LogId: f.state.Tree})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return err
	}
	f.opened = true
	return nil
}

func (f *Feeder) make(ctx context.Context) (*trillian.Tree, error) {
	if f.state.Name == "" {
		var b [4]byte
		rand.Read(b[:])
		f.state.Name = "countroom-" + hex.EncodeToString(b[:])
		if err := f.state.write(f.cfg.Dir); err != nil {
			return nil, err
		}
	}
	list, err := call(ctx, f, "ListTrees", f.admin.ListTrees, &trillian.ListTreesRequest{})
	if err != nil {
		return nil, err
	}
	for _, t := range list.GetTree() {
		if t.GetDisplayName() == f.state.Name && t.GetTreeId() > 0 {
			return t, nil
		}
	}
	origin := f.cfg.Mirror.Origin()
	tree, err := call(ctx, f, "CreateTree", f.admin.CreateTree, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeType: trillian.TreeType_PREORDERED_LOG, TreeState: trillian.TreeState_ACTIVE,
		DisplayName: f.state.Name, Description: origin[:min(len(origin), 200)], MaxRootDuration: durationpb.New(0),
	}})
	if err == nil && tree.GetTreeId() <= 0 {
		err = refuse(Malformed, "tree %d was made", tree.GetTreeId())
	}
	return tree, err
}
