import { expect, it } from 'vitest';
import { topologyText } from '../../cli/support/topology-text.js';
import type { TopologyNode } from '../../manager/control/api.js';

const leaf = (address: string, tag: string): TopologyNode => ({
  ...{ kind: 'function', address, tag, source: `/${tag}`, state: 'plugged', children: [] },
});
const port = (address: string, slot: number, ...children: TopologyNode[]): TopologyNode => ({
  ...{ kind: 'root-port', address, slot, children },
});

it('draws the hierarchy as lspci -t does, runs of empty slots in a line each', () => {
  const root: TopologyNode = {
    kind: 'root-complex',
    children: [
      port('10.0', 1, leaf('00.0', 'a'), leaf('00.1', 'b')),
      port('10.1', 2),
      port('10.2', 3),
      port('10.3', 4, leaf('00.0', 'c')),
      {
        kind: 'root-port',
        address: '18.0',
        children: [
          {
            kind: 'switch',
            address: '00.0',
            children: [port('00.0', 65, leaf('00.0', 'd')), port('00.1', 66)],
          },
        ],
      },
    ],
  };
  expect(topologyText(root).split('\n')).toEqual([
    '-[0000:00]-+-10.0-[slot 1]-+-00.0 a /a (plugged)',
    '           |               \\-00.1 b /b (plugged)',
    '           +-10.1..10.2-[slots 2..3]',
    '           +-10.3-[slot 4]---00.0 c /c (plugged)',
    '           \\-18.0---00.0-+-00.0-[slot 65]---00.0 d /d (plugged)',
    '                         \\-00.1-[slot 66]',
  ]);
});

it('draws a chassis of one slot', () => {
  expect(topologyText({ kind: 'root-complex', children: [port('10.0', 1)] })).toBe(
    '-[0000:00]---10.0-[slot 1]',
  );
});
