/**
 * Manifests as somebody else may have written them: grown from the schema, changed as trees (values, keys, nesting, anchors and aliases) and
 * then as bytes. Each is either understood, or refused with the places of what is wrong: by no other error, in bounded words, and with
 * nothing that would steer a terminal.
 */
import { loadManifests } from '../../../cli/apply/manifest/load.js';
import { manifestText } from '../../../cli/apply/manifest/manifest-files.js';
import type { Problem } from '../../../cli/apply/manifest/problems.js';
import { planApply } from '../../../cli/apply/plan/plan.js';
import { operationText } from '../../../cli/apply/plan/operations.js';
import { ChassisError } from '../../../manager/control/api.js';
import { randomFrom, type Random } from '../../support/random.js';
import { anyNumber, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { grownManifest } from './grown.js';
import { become, blockText, flowText, nodesOf, raw, type Tree } from './tree.js';
import { textNumber } from '../text-number.js';

const Kind = {
  ...{ VALUE: 0, REMOVE: 1, DOUBLE: 2, KEY: 3, NEST: 4, ALIAS: 5, LAUGHS: 6, MANY: 7, LONG: 8 },
  ...{ BYTE: 9, CUT: 10, INSERT: 11, AGAIN: 12 },
} as const;
const KINDS = [...Array<number>(8).fill(Kind.VALUE), ...Object.values(Kind)];
const TREE_KINDS = Kind.LONG;

const VALUES = [
  ...['', '~', 'null', 'true', 'yes', '-1', '0', '8', '1.5', '1e999', '.nan', '-.inf', '0x10', '0o17'],
  ...['""', "''", '"\\0"', '"a\\0b"', '"\\e[2J"', '"\\u202e"', '"\\uD800"', '"/\\0"', '99999999999999999999'],
  ...['{}', '[]', '{a: 1}', '[[]]', '[', '}', '{a', '"', "'", '? a', '- a', 'a: b: c', '|\n  x\n ', '>-\n'],
  ...['&a x', '*a', '*nobody', '&a', '!x y', '!!binary aGk=', '!!set {a}', '!!python/object:os.system x'],
  ...['!!str 1', '!!int x', '!!timestamp 2001-01-01', '%', '@', '`', '#', '{<<: *a}', '"mem:"', 'mem:1M'],
  ...['/', '..', '/proc/self/mem', '/dev/zero', '/etc/shadow/x', '~/', '~root/x', '/\u{1f600}', '\u2028'],
];
const KEYS = [
  ...['slots', 'mounts', 'source', 'policy', 'vm', 'vmm', 'provision', 'name', 'chassis', '<<', '__proto__'],
  ...[
    'Source',
    'readonly',
    '? [a]',
    '? {a: b}',
    '""',
    '~',
    '1',
    '*a',
    '&b k',
    '!x k',
    '"\\e[2J"',
    "'\u202e'",
  ],
];
const SNIPPETS = [
  ...['\ufeff', '\r\n', '\r', '\u0085', '\u2028', '\0', '\t', '\n', '---\n', '...\n', '%YAML 1.1\n', '#'],
  ...['%TAG ! x\n', '\u001b[2J', '\u{10ffff}', ': ', '- ', '"', "'", '{', '[', '&a ', '*a ', '!', '|', '? '],
].map((text) => Buffer.from(text));
/** No UTF-8: a byte that cannot be, an overlong slash, half a surrogate, one byte of two, and UTF-16. */
const WRONG = [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xc3], [0xff, 0xfe, 0x61, 0]].map((bytes) =>
  Buffer.from(bytes),
);

const FILE = 'a.yaml';
const WORDS_MAX = 60_000;
// eslint-disable-next-line no-control-regex
const STEERS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

export class ManifestTarget implements FuzzTarget {
  readonly name = 'manifest';
  readonly unit = 'manifests';

  newCase(random: Random): FuzzCase {
    return {
      setup: [anyNumber(random), random(2)],
      steps: Array.from({ length: random(4) }, () => this.newStep(random)),
    };
  }

  newStep(random: Random): number[] {
    return [KINDS[random(KINDS.length)], anyNumber(random), anyNumber(random), anyNumber(random)];
  }

  run({ setup: [seed, style], steps }: FuzzCase, saw: (what: number) => void): number {
    const tree = grownManifest(randomFrom(seed));
    for (const step of steps) if (step[0] <= TREE_KINDS) changeTree(tree, step);
    let bytes: Buffer = Buffer.from(style % 2 === 0 ? blockText(tree) : flowText(tree));
    for (const step of steps) if (step[0] > TREE_KINDS) bytes = changeBytes(bytes, step);
    for (const outcome of outcomesOf(bytes)) saw(textNumber(outcome));
    return 1;
  }
}

/** What came of it, in words without what is the manifest's own. */
function outcomesOf(bytes: Buffer): string[] {
  try {
    const text = manifestText(FILE, bytes);
    const desired = loadManifests([{ file: FILE, directory: '/usr', text }], { pathName: '/a.yaml' });
    const { steps } = planApply(desired, [], { prune: true, force: true });
    return steps.map(({ operation }) => `${operation.do} ${operationText(operation) === ''}`);
  } catch (error) {
    if (!(error instanceof ChassisError) || error.code !== 'MANIFEST_INVALID') throw error;
    return refusalsOf(error, bytes.toString('utf8').split('\n'));
  }
}

function refusalsOf(error: ChassisError, lines: readonly string[]): string[] {
  const { message } = error;
  const { problems } = (error as unknown as { details: { problems: Problem[] } }).details;
  if (problems.length === 0) throw new Error('it says nothing of what is wrong');
  if (message.length > WORDS_MAX) throw new Error(`it says ${message.length} characters`);
  if (STEERS.test(message)) throw new Error(`it would steer a terminal: ${JSON.stringify(message)}`);
  if (/^ +at .*:\d+\)?$/m.test(message)) throw new Error(`it shows a stack: ${message}`);
  for (const { file, line, column } of problems) {
    const isThere =
      file === FILE &&
      line >= 1 &&
      line <= lines.length &&
      column >= 1 &&
      column <= lines[line - 1].length + 1;
    if (!isThere) throw new Error(`there is no ${file}:${line}:${column}: ${message}`);
    if (!message.includes(`${file}:${line}:${column}: `)) throw new Error(`a place is not told: ${message}`);
  }
  return problems.map((problem) => problem.message.replace(/["'\d/].*/s, ''));
}

function changeTree(tree: Tree, [kind, where, what, much]: readonly number[]): void {
  const nodes = nodesOf(tree);
  const node = nodes[where % nodes.length];
  const other = nodes[what % nodes.length];
  switch (kind) {
    case Kind.VALUE:
      return become(node, raw(VALUES[what % VALUES.length]));
    case Kind.REMOVE:
      if (node.kind === 'map') node.entries.splice(what % (node.entries.length + 1), 1);
      return;
    case Kind.DOUBLE:
      if (node.kind === 'map' && node.entries.length > 0)
        node.entries.push(node.entries[what % node.entries.length]);
      return;
    case Kind.KEY:
      if (node.kind === 'map')
        node.entries.push([KEYS[what % KEYS.length], raw(VALUES[much % VALUES.length])]);
      return;
    case Kind.NEST:
      return become(node, raw(nested(what, much)));
    case Kind.ALIAS:
      node.head = '&a ';
      return other === node ? undefined : become(other, raw('*a'));
    case Kind.LAUGHS:
      return become(node, raw(laughs(2 + (what % 9), 2 + (much % 9))));
    case Kind.MANY:
      if (node.kind === 'map')
        for (let i = 0; i < what % 400; i++) node.entries.push([`n${i}`, raw(VALUES[much % VALUES.length])]);
      return;
    case Kind.LONG:
      return become(node, raw('x'.repeat(what)));
  }
}

function nested(what: number, much: number): string {
  const [open, close] = [
    ['[', ']'],
    ['{a: ', '}'],
    ['- ', ''],
    ['? ', ''],
  ][what % 4];
  const depth = much % 2000;
  return open.repeat(depth) + (what % 3 === 0 ? '' : close.repeat(depth));
}

/** Lists of lists, each of the one before: `wide` to the power of `deep`. */
function laughs(wide: number, deep: number): string {
  const levels = Array.from({ length: deep }, (_, i) => {
    const items = Array<string>(wide).fill(i === 0 ? 'ha' : `*l${i - 1}`);
    return `&l${i} [${items.join(', ')}]`;
  });
  return `[${levels.join(', ')}]`;
}

function changeBytes(bytes: Buffer, [kind, where, what, much]: readonly number[]): Buffer {
  const at = where % (bytes.length + 1);
  const insert = (some: Uint8Array) => Buffer.concat([bytes.subarray(0, at), some, bytes.subarray(at)]);
  switch (kind) {
    case Kind.BYTE:
      if (at < bytes.length) bytes[at] = what;
      return bytes;
    case Kind.CUT:
      return bytes.subarray(0, at);
    case Kind.INSERT:
      return insert(much % 4 === 0 ? WRONG[what % WRONG.length] : SNIPPETS[what % SNIPPETS.length]);
    default: {
      const piece = bytes.subarray(at, at + (what % 40));
      return insert(Buffer.concat(Array<Buffer>(1 + (much % 50)).fill(piece)));
    }
  }
}
