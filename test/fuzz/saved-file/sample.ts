/** Chassis with something of everything, as they are saved. */
import { ChassisModel, type DeviceRecord } from '../../../manager/chassis/chassis.js';
import { documentOf, type JournalDocument } from '../../../manager/journal-format.js';
import type { FunctionFileState } from '../../../manager/saved-state/states.js';

const at = (slot: number) => ({ slot, function: 0, permanent: false, port: 'auto' as const });
const share = { type: 'directory', path: '/srv/share' } as const;

const DEVICES: readonly DeviceRecord[] = [
  { ...at(1), tag: 'share', source: share, readOnly: false, policy: { deny: ['**/.git'] } },
  { ...at(2), tag: 'tree', source: { type: 'tree' }, readOnly: false, tree: true },
  { ...at(3), tag: 'queues', source: { type: 'queues' }, readOnly: false, mux: true },
  {
    ...{ ...at(4), tag: 'disk', readOnly: false },
    disk: { source: { type: 'file', path: '/srv/disk.img' }, overlay: false, serial: 'disk', queues: 1 },
  },
  {
    ...{ ...at(5), tag: 'lan0' },
    card: {
      network: { type: 'switch', switch: 'lan', isolated: false, macLock: false },
      ...{ mac: '52:54:00:00:00:01', queuePairs: 1, up: true },
    },
  },
];

export interface SampleChassis {
  readonly document: JournalDocument;
  readonly diskBytes: Record<string, number>;
  readonly functions: readonly FunctionFileState[];
}

/** Each number has another one; they come round after four. */
export function sampleChassis(number: number): SampleChassis {
  const model = new ChassisModel(6);
  for (const device of DEVICES) model.attach([device]);
  if (number % 2 === 1) {
    model.children.set('a', { tag: 'a', source: share, readOnly: true, target: '/mnt/a' });
    model.seats.set('b', { tag: 'b', source: share, readOnly: true, queue: 1 });
  }
  const use = { port: 'vhost-user', msix: false, reason: 'asked for' } as const;
  const facts = {
    use: () => use,
    unplugging: [],
    firstQueueTag: undefined,
    managedBy: undefined,
    apiSocket: undefined,
  };
  const document = { ...documentOf('dev', model, facts), children: [...model.children.values()] };
  const moved = Uint8Array.of(1, 2, 3);
  const functions = number % 4 < 2 ? [] : [{ function: 'slot1-fn0', bases: [7], moved }];
  return {
    document: JSON.parse(JSON.stringify(document)) as JournalDocument,
    diskBytes: { disk: 4096 },
    functions,
  };
}
