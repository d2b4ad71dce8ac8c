import { readFileSync } from 'node:fs';
import type { FuzzTarget } from './fuzzer.js';
import { DecoderTarget } from './9p/decoder-target.js';
import { SequenceTarget } from './9p/sequence-target.js';
import { CardTarget } from './card/card-target.js';
import { DeviceStateTarget } from './device-states/device-state-target.js';
import { DiskTarget } from './disk/disk-target.js';
import { ManifestTarget } from './manifest/manifest-target.js';
import { RepliesTarget } from './nbd/replies-target.js';
import { RegisterTarget } from './registers/register-target.js';
import { SavedFileTarget } from './saved-file/saved-file-target.js';
import { RingTarget } from './rings/ring-target.js';

/** What can be fuzzed. A target is made once watching has begun (see `beginWatching`). */
export const TARGETS: Readonly<Record<string, () => FuzzTarget>> = {
  rings: () => new RingTarget(),
  registers: () => new RegisterTarget(),
  '9p-decoder': () => new DecoderTarget(),
  '9p-sequences': () => new SequenceTarget(),
  disk: () => new DiskTarget(),
  card: () => new CardTarget(),
  'nbd-replies': () => new RepliesTarget(),
  'saved-file': () => new SavedFileTarget(),
  'device-states': () => new DeviceStateTarget(),
  manifest: () => new ManifestTarget(),
};

/** The committed cases of a target, a line each. They are with the sources, whether this runs from there or from `dist`. */
export function corpusUrl(name: string): URL {
  const sources = new URL(import.meta.url.replace('/dist/test/', '/test/'));
  return new URL(`corpus/${name}.txt`, sources);
}

export function readCorpus(name: string): string[] {
  return readFileSync(corpusUrl(name), 'utf8').trimEnd().split('\n');
}
