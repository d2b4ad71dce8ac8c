import { describe, expect, it } from 'vitest';
import { ratios, spreadOf, type Comparison } from '../../../bench/support/results.js';

describe('the spread of figures', () => {
  it('has the middle one, or the mean of the two in the middle, between the least and the greatest', () => {
    expect(spreadOf([9, 1, 5])).toEqual({ median: 5, min: 1, max: 9 });
    expect(spreadOf([10, 2, 4, 8])).toEqual({ median: 6, min: 2, max: 10 });
  });
});

describe('the ratio of a side to a peer', () => {
  const sides = { ours: [10, 40], theirs: [20, 20] };
  const comparison = (better: Comparison['better']): Comparison => ({ name: 'x', unit: 's', better, sides });

  it('is taken turn by turn', () => {
    expect(ratios(comparison('more'), 'ours', 'theirs')).toEqual([0.5, 2]);
  });

  it('is above 1 where the side is ahead, also where less is better', () => {
    expect(ratios(comparison('less'), 'ours', 'theirs')).toEqual([2, 0.5]);
  });
});
