import { expect, it } from 'vitest';
import type { Mount, TopologyNode } from '../../manager/control/api.js';
import { topologyOf } from '../../manager/topology.js';

function mount(tag: string, slot: number, fn: number): Mount {
  return {
    ...{ chassis: 'dev', tag, source: { type: 'memory' }, readOnly: false, permanent: false },
    ...{ via: 'function', slot, function: fn, state: 'plugged', mountCommand: 'mount' },
  };
}

function slotsBelow({ slot, children }: TopologyNode): number[] {
  return [...(slot === undefined ? [] : [slot]), ...children.flatMap(slotsBelow)];
}

it('shows each slot once, with its functions below it', () => {
  const root = topologyOf(2, [mount('a', 2, 0), mount('b', 2, 3)]);
  expect(root.children).toMatchObject([
    { kind: 'root-port', address: '10.0', slot: 1, children: [] },
    {
      ...{ kind: 'root-port', address: '10.1', slot: 2 },
      children: [
        { kind: 'function', address: '00.0', tag: 'a', source: 'mem:', state: 'plugged' },
        { address: '00.3', tag: 'b' },
      ],
    },
  ]);
});

it('shows the slots behind switches behind them', () => {
  const root = topologyOf(100, [mount('far', 98, 0)]);
  expect(slotsBelow(root)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  const uplinks = root.children.slice(64);
  expect(uplinks.map(({ address, slot }) => [address, slot])).toEqual([
    ['18.0', undefined],
    ['18.1', undefined],
  ]);
  expect(uplinks[1].children).toMatchObject([
    { kind: 'switch', children: [{}, { address: '00.1', children: [{ tag: 'far' }] }, {}, {}] },
  ]);
});
