package trillian

import (
	"context"

	trillian "github.com/google/trillian"
	"github.com/google/trillian/storage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Admin is Trillian's admin storage with the one log in it, read-only.
type Admin struct{}

// Snapshot reads the one tree.
func (Admin) Snapshot(context.Context) (storage.ReadOnlyAdminTX, error) { return adminTx{}, nil }

// ReadWriteTransaction is refused.
func (Admin) ReadWriteTransaction(context.Context, storage.AdminTXFunc) error { return ErrReadOnly }

// CheckDatabaseAccessible always succeeds.
func (Admin) CheckDatabaseAccessible(context.Context) error { return nil }

type adminTx struct{}

func (adminTx) GetTree(_ context.Context, id int64) (*trillian.Tree, error) {
	if id != TreeID {
		return nil, status.Errorf(codes.NotFound, "tree %d is not this log", id)
	}
	return logTree, nil
}

func (adminTx) ListTrees(context.Context, bool) ([]*trillian.Tree, error) {
	return []*trillian.Tree{logTree}, nil
}

func (adminTx) Commit() error { return nil }
func (adminTx) Close() error  { return nil }
