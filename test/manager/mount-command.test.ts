import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mountCommand } from '../../manager/mount-command.js';

/** The words that a shell makes of the command. */
function words(command: string): string[] {
  const output = execFileSync('sh', [
    '-c',
    `set -f; for word in ${command}; do printf '%s\\0' "$word"; done`,
  ]);
  return output.toString('utf8').split('\0').slice(0, -1);
}

describe('mountCommand', () => {
  it('names transport, version and message size', () => {
    expect(mountCommand('src', false)).toBe(
      'mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 src /mnt/src',
    );
  });

  it('mounts read-only what is read-only', () => {
    expect(mountCommand('src', true)).toContain('msize=512000,ro src');
  });

  it.each([
    ['..', '/mnt/_.'],
    ['.', '/mnt/_'],
    ['a/../../b', '/mnt/a-..-..-b'],
    ['/', '/mnt/-'],
  ])('keeps the mount point of %j below /mnt', (tag, point) => {
    expect(words(mountCommand(tag, false)).at(-1)).toBe(point);
  });

  it('does not let a tag pass for an option', () => {
    expect(words(mountCommand('-oremount', false)).slice(-3)).toEqual(['--', '-oremount', '/mnt/-oremount']);
  });

  it('gives a shell the tag as it is, whatever it holds', () => {
    const tags = fc.stringMatching(/^[ -~éß€😀]{1,40}$/u);
    fc.assert(
      fc.property(tags, (tag) => {
        expect(words(mountCommand(tag, false)).at(-2)).toBe(tag);
      }),
      { numRuns: 40 },
    );
  });
});
