package rowstore

import (
	"context"
	"iter"
)

// Lister is a store that lists.
type Lister interface {
	List(ctx context.Context, partition string, r Range) (rows []Row, next string, err error)
}

// All yields the rows of a range, page by page, in key order. An error is the
// last that it yields, with no row.
func All(ctx context.Context, store Lister, partition string, r Range) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for {
			rows, next, err := store.List(ctx, partition, r)
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			r.From = next
		}
	}
}
