import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cloudInitSeed } from '../../../manager/device-process/cloud-init-seed.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();

function userData(text: string): string {
  const path = join(folder(), 'user-data.yaml');
  writeFileSync(path, text);
  return path;
}

function instanceOf(seed: Uint8Array): string {
  const [, id] = /instance-id: (\S+)\n/.exec(Buffer.from(seed).toString('latin1')) ?? [];
  return id;
}

describe("a guest's first settings", () => {
  it('are on a volume by the name that cloud-init looks for', () => {
    const seed = Buffer.from(cloudInitSeed(userData('#cloud-config\nhostname: seeded\n')));
    expect(seed.toString('latin1', 43, 54)).toBe('CIDATA     ');
    expect(seed.includes('#cloud-config\nhostname: seeded\n')).toBe(true);
  });

  it('are those of another instance once they have changed, and of the same one as long as they have not', () => {
    const first = instanceOf(cloudInitSeed(userData('#cloud-config\n')));
    expect(first).toMatch(/^chassis-[0-9a-f]{16}$/);
    expect(instanceOf(cloudInitSeed(userData('#cloud-config\n')))).toBe(first);
    expect(instanceOf(cloudInitSeed(userData('#cloud-config\n#\n')))).not.toBe(first);
  });

  it('may have a MiB', () => {
    const path = userData('#!/bin/sh\n');
    truncateSync(path, 2 ** 20);
    expect(cloudInitSeed(path).length).toBeGreaterThan(2 ** 20);
    truncateSync(path, 2 ** 20 + 1);
    expect(() => cloudInitSeed(path)).toThrow(expect.objectContaining({ code: 'SIZE_INVALID' }) as Error);
  });

  it.each<[string, () => string, string]>([
    ['there is not', () => join(folder(), 'none'), 'SOURCE_MISSING'],
    ['is a directory', () => folder(), 'SOURCE_NOT_DISK'],
    [
      'is a FIFO, which nobody writes to',
      () => {
        const path = join(folder(), 'fifo');
        execFileSync('mkfifo', [path]);
        return path;
      },
      'SOURCE_NOT_DISK',
    ],
  ])('cannot be in a file that %s', (_what, path, code) => {
    expect(() => cloudInitSeed(path())).toThrow(expect.objectContaining({ code }) as Error);
  });
});
