package main

import (
	"context"
	"fmt"
	"slices"
)

// An Arm is one of the things that are measured in turn.
type arm struct {
	name string
	once func(ctx context.Context) (float64, error) // in the row's unit
}

// Stat is what many measurements of one thing came to.
type Stat struct {
	What   string  `json:"what"`
	Median float64 `json:"median"`
	P25    float64 `json:"p25"`
	P75    float64 `json:"p75"`
	Best   float64 `json:"best"` // smallest
	N      int     `json:"n"`
}

// interleave measures the arms in turn, A B C A B C …, and returns one Stat for
// each. The first round is thrown away: it fills caches and touches memory.
func interleave(ctx context.Context, rounds int, arms ...arm) ([]Stat, error) {
	values := make([][]float64, len(arms))
	for round := range rounds + 1 {
		for i, a := range arms {
			v, err := a.once(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			if round > 0 {
				values[i] = append(values[i], v)
			}
		}
	}
	out := make([]Stat, len(arms))
	for i, a := range arms {
		out[i] = summarise(a.name, values[i])
	}
	return out, nil
}

func summarise(what string, values []float64) Stat {
	v := slices.Sorted(slices.Values(values))
	return Stat{What: what, Median: quantile(v, 0.5), P25: quantile(v, 0.25), P75: quantile(v, 0.75), Best: v[0], N: len(v)}
}

// quantile of sorted values, between neighbours by their distance.
func quantile(v []float64, q float64) float64 {
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (v[i+1]-v[i])*(at-float64(i))
}
