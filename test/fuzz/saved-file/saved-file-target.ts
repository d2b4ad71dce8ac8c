/** The file of a saved chassis, as somebody else may have written it: bytes, lengths and fields of it changed, and its checksums right again. */
import { ChassisModel } from '../../../manager/chassis/chassis.js';
import { fillModel } from '../../../manager/journal-format.js';
import { decodeSaved, encodeSaved } from '../../../manager/saved-state/saved-file.js';
import { encodeStates } from '../../../manager/saved-state/states.js';
import { parseSaved } from '../../../manager/saved-state/store.js';
import { sealState } from '../../../devices/virtio/state/header.js';
import type { Random } from '../../support/random.js';
import { anyNumber, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { sampleChassis } from './sample.js';
import { ByteChange, changeBytes } from '../byte-change.js';
import { textNumber } from '../text-number.js';

const Kind = { ...ByteChange, FIELD: 4, REMOVE: 5, DOUBLE: 6 } as const;
const KINDS = [...Array<number>(4).fill(Kind.FIELD), ...Object.values(Kind)];
/** What a field may be in place of what it is. */
const VALUES: readonly unknown[] = [
  ...[
    null,
    true,
    -1,
    0,
    1,
    7,
    8,
    1.5,
    255,
    4096,
    2 ** 31,
    2 ** 53,
    1e300,
    '',
    'a',
    '/',
    '../x',
    '\0',
    'x'.repeat(5000),
  ],
  ...[
    [],
    {},
    [[]],
    { type: 'memory' },
    { type: 'tree' },
    { type: 'queues' },
    { type: 'directory', path: '/' },
  ],
];
const HEADER_BYTES = 16;

export class SavedFileTarget implements FuzzTarget {
  readonly name = 'saved-file';
  readonly unit = 'files of saved chassis';

  newCase(random: Random): FuzzCase {
    return {
      setup: [random(4), random(2)],
      steps: Array.from({ length: 1 + random(4) }, () => this.newStep(random)),
    };
  }

  newStep(random: Random): number[] {
    return [KINDS[random(KINDS.length)], anyNumber(random), anyNumber(random), anyNumber(random)];
  }

  run({ setup: [sample, sealed], steps }: FuzzCase, saw: (what: number) => void): number {
    const saved = sampleChassis(sample);
    const head = JSON.parse(
      JSON.stringify({ document: saved.document, diskBytes: saved.diskBytes }),
    ) as Holder;
    const states = Buffer.from(encodeStates(saved.functions));
    for (const step of steps) changeField(head, step);
    let bytes: Buffer = Buffer.from(encodeSaved({ ...(head as never as typeof saved), states }));
    for (const [kind, where, what] of steps)
      bytes = changeBytes(bytes, kind, where % Math.max(bytes.length, 1), what);
    if (sealed % 2 === 0 && bytes.length >= HEADER_BYTES) sealState(bytes);
    saw(this.look(new Uint8Array(bytes)));
    return 1;
  }

  /** Answers a number for what came of it. */
  private look(bytes: Uint8Array): number {
    const parsed = parseSaved(bytes);
    if (typeof parsed === 'string') return textNumber(parsed.replace(/[\d"'].*/s, ''));
    const model = new ChassisModel(parsed.document.slots);
    fillModel(model, parsed.document);
    const again = decodeSaved(encodeSaved(parsed));
    if (JSON.stringify(again) !== JSON.stringify(parsed))
      throw new Error('it is another one when it is saved again');
    return model.devices().length;
  }
}

type Holder = Record<string, unknown>;

/** Everything in the head that something else can be in the place of. */
function places(holder: Holder, found: [Holder, string][] = []): [Holder, string][] {
  for (const [key, value] of Object.entries(holder)) {
    found.push([holder, key]);
    if (typeof value === 'object' && value !== null) places(value as Holder, found);
  }
  return found;
}

function changeField(head: Holder, [kind, where, what]: readonly number[]): void {
  if (kind < Kind.FIELD) return;
  const all = places(head);
  if (all.length === 0) return;
  const [holder, key] = all[where % all.length];
  if (kind === Kind.FIELD) holder[key] = structuredClone(VALUES[what % VALUES.length]);
  else if (kind === Kind.REMOVE) delete holder[key];
  else if (Array.isArray(holder)) holder.push(structuredClone(holder[Number(key)]));
  else holder[`${key}2`] = holder[key];
}
