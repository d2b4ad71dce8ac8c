/** Manifests grown from the schema: mostly right, with every key sooner or later. */
import { KindGuard, type TObject, type TSchema } from '@sinclair/typebox';
import { Manifest } from '../../../cli/apply/manifest/schema.js';
import type { Random } from '../../support/random.js';
import { raw, type Tree } from './tree.js';

/** Of keys that stand for more than their type says. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  source: ['bin', 'lib', '"mem:"', 'mem:4M', '~/', './share', 'nowhere', 'nbd://localhost/x'],
  target: ['/work', '/', '/srv/a b', 'relative'],
  owner: ['mapped', 'squash:0:0', 'squash:1000:1000:5:6', '["range:0:1000:10"]', 'range:0:0:0'],
  overlay: ['true', 'false', '"mem:"', './changes'],
  deny: ['["**/.env"]', '["*", "a/b"]', '[""]'],
  allow: ['["src/**"]'],
  size: ['1M', '512', '3', '1T', '99999999999T'],
  maxBytes: ['1G', '0', '7', '99999999999T'],
  memory: ['1G', '64M', '63M', '999999999T', '67108865'],
  kernel: ['bin/sh', 'nowhere', 'bin'],
  initrd: ['bin/sh'],
  console: ['con.log', '/a,b'],
  disks: ['[bin/sh]', '{d: {source: mem:1M}}'],
  cloudInit: ['bin/sh', 'nowhere'],
  overlayDirectory: ['lib'],
  mac: ['"52:54:00:00:00:01"', '"01:00:00:00:00:00"', 'x'],
  serial: ['S1', 'x', '"123456789012345678901"'],
  apiSocket: ['ch.sock', '/run/ch.sock', `/${'s'.repeat(120)}`],
  name: ['lab', 'a', 'b.c', '-x'],
  trunk: ['[10, "20-29"]', '10,20-29', '[1]'],
  script: ['bin/sh', 'nowhere', 'bin'],
  from: ['bin/sh', 'lib/.', 'nowhere'],
  to: ['/srv', '/'],
  user: ['root', 'www-data', '-c'],
  run: ['"true"', 'id'],
  accel: ['kvm', 'tcg', '"a b"'],
};
const NAMES = ['dev', 'ci', 'a', 'b', 'src', '10', 'x-1', '__proto__', 'constructor'];

export function grownManifest(random: Random): Tree {
  return grown(Manifest, '', random);
}

function grown(schema: TSchema, key: string, random: Random): Tree {
  const words = WORDS[key];
  if (words && random(8) > 0 && !KindGuard.IsRecord(schema)) return raw(words[random(words.length)]);
  if (KindGuard.IsObject(schema)) return object(schema, random);
  if (KindGuard.IsRecord(schema)) {
    const [entry] = Object.values(schema.patternProperties);
    const names = Array.from({ length: 1 + random(3) }, () => NAMES[random(NAMES.length)]);
    return {
      kind: 'map',
      entries: [...new Set(names)].map((name) => [name, grown(entry, name, random)]),
    };
  }
  if (KindGuard.IsArray(schema))
    return { kind: 'list', items: Array.from({ length: random(3) }, () => grown(schema.items, key, random)) };
  if (KindGuard.IsUnion(schema)) return grown(schema.anyOf[random(schema.anyOf.length)], key, random);
  if (KindGuard.IsLiteral(schema)) return raw(String(schema.const));
  if (KindGuard.IsBoolean(schema)) return raw(random(2) === 0 ? 'true' : 'false');
  if (KindGuard.IsInteger(schema)) {
    const { minimum = 0, maximum = 100 } = schema;
    return raw(String([minimum, maximum, minimum + 1, 1, 2][random(5)]));
  }
  return raw(['x', 'bin', '/work', '"quoted"', '8'][random(5)]);
}

/** What must be there, mostly, and of the rest some. */
function object({ properties, required = [] }: TObject, random: Random): Tree {
  const keys = Object.keys(properties).filter((key) =>
    required.includes(key) ? random(40) > 0 : random(4) === 0,
  );
  return { kind: 'map', entries: keys.map((key) => [key, grown(properties[key], key, random)]) };
}
