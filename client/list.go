package client

import (
	"context"
	"iter"
)

// optional is a pointer to v; nil for the zero value, which is not sent.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// each iterates over a list that comes in one piece.
func each[T any](list func() ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		all, err := list()
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// everywhere iterates over the lists of all facilities.
func everywhere[T any](ctx context.Context, c *Client, list func(facility string) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for place, err := range each(func() ([]Location, error) { return c.Location.List(ctx) }) {
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for v, err := range each(func() ([]T, error) { return list(place.Code) }) {
				if !yield(v, err) || err != nil {
					return
				}
			}
		}
	}
}

// pageSize is how many entries a call asks for where a list is read to its end.
const pageSize = 1000

// pages iterates over a list that goes on after the last id. The ids rise, or
// all fall.
func pages[T any](op string, list func(last int64) ([]T, error), id func(T) int64) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for last := int64(0); ; {
			page, err := list(last)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			next := id(page[len(page)-1])
			if next == last || next == 0 {
				yield(zero, &Error{Op: op, Status: 200, Reason: ReasonBadAnswer, Message: "the list does not get on"})
				return
			}
			last = next
		}
	}
}
