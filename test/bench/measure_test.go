package main

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestInterleave(t *testing.T) {
	var order []string
	once := func(name string, values ...float64) arm {
		return arm{name, func(context.Context) (float64, error) {
			order = append(order, name)
			v := values[0]
			values = values[1:]
			return v, nil
		}}
	}
	stats, err := interleave(t.Context(), 3, once("a", 99, 3, 1, 2), once("b", 99, 30, 10, 20))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "a", "b", "a", "b", "a", "b"}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
	// The first round is thrown away.
	if want := (Stat{What: "b", Median: 20, P25: 15, P75: 25, Best: 10, N: 3}); stats[1] != want {
		t.Errorf("got %+v, want %+v", stats[1], want)
	}
	broken := errors.New("broken")
	_, err = interleave(t.Context(), 1, arm{"c", func(context.Context) (float64, error) { return 0, broken }})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		how    string
		limit  float64
		result float64
		met    bool
	}{
		{ratio, 1.5, 2, false},
		{ratio, 2, 2, true},
		{speed, 0.5, 0.5, true},
		{speed, 0.7, 0.5, false},
		{difference, 1, 2, false},
		{difference, 2, 2, true},
	} {
		r := Row{Unit: "ms", Figure: Stat{Median: 4, Best: 4}, Baseline: Stat{Median: 2, Best: 2}}
		r.compare(c.how, c.limit)
		if r.Result != c.result || *r.Met != c.met {
			t.Errorf("%s, limit %g: %g, met %v", c.how, c.limit, r.Result, *r.Met)
		}
	}
	r := Row{Figure: Stat{Median: 4, Best: 4}, Baseline: Stat{Median: 2, Best: 2}}
	if r.compare(ratio, 0); r.Met != nil || r.Aim != "" {
		t.Error("an aim where there is none")
	}
}
