// Package saved reads what people keep of a house: its answers as they came,
// JSON in any formatting that has at some depth objects with a leaf and a
// receipt.
package saved

import (
	"errors"
	"fmt"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

// Most is the size in bytes of the largest saved answer that is read. A page of
// a hundred rounds has a tenth of it, and a hostile file of this size takes some
// 400 MB to parse.
const Most = 2 << 20

// answersMost bounds the receipts in one text.
const answersMost = 4096

// Answer is one leaf with its receipt, as a house gave them.
type Answer struct {
	Leaf    []byte // canonical
	Receipt tlog.Receipt
}

// Read finds the objects with a leaf and a receipt in a saved answer. There is
// at least one.
func Read(data []byte) ([]Answer, error) {
	if len(data) > Most {
		return nil, fmt.Errorf("a saved answer of %d bytes, at most %d expected", len(data), Most)
	}
	v, err := entry.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("a saved answer: %w", err)
	}
	var found []Answer
	if err := collect(&v, &found); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New(`a saved answer: expected an object with "leaf" and "receipt"`)
	}
	return found, nil
}

func collect(v *entry.Value, found *[]Answer) error {
	leaf, hasLeaf := v.Get("leaf")
	receipt, hasReceipt := v.Get("receipt")
	if hasLeaf && hasReceipt {
		if leaf.Kind != entry.KindObject || receipt.Kind != entry.KindString {
			return errors.New(`a saved answer: expected "leaf" to be an object and "receipt" a string`)
		}
		r, err := tlog.ParseReceipt([]byte(receipt.Text))
		if err != nil {
			return err
		}
		if len(*found) == answersMost {
			return fmt.Errorf("a saved answer: at most %d receipts expected", answersMost)
		}
		*found = append(*found, Answer{Leaf: leaf.AppendCanonical(nil), Receipt: r})
		return nil
	}
	for i := range v.Items {
		if err := collect(&v.Items[i], found); err != nil {
			return err
		}
	}
	for i := range v.Members {
		if err := collect(&v.Members[i].Value, found); err != nil {
			return err
		}
	}
	return nil
}
