import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readBounded, readBoundedThere, writePrivate } from '../../../manager/saved-state/private-file.js';
import { temporaryFolders } from '../temporary-folder.js';

describe('a file that is read as a whole', () => {
  const folder = temporaryFolders();

  it('is no link in a folder that a device process writes to, which could lead to what that cannot read', () => {
    const home = folder();
    const [secret, link] = [join(home, 'secret'), join(home, 'states')];
    writeFileSync(secret, 'secret');
    symlinkSync(secret, link);
    expect(() => readBoundedThere(link, 100)).toThrow(/ELOOP/);
    expect(Buffer.from(readBoundedThere(secret, 100)).toString()).toBe('secret');
    // What an operator names may be one.
    expect(Buffer.from(readBounded(link, 100)).toString()).toBe('secret');
  });

  it('is no folder, and no longer than allowed', () => {
    const home = folder();
    mkdirSync(join(home, 'folder'));
    expect(() => readBounded(join(home, 'folder'), 100)).toThrow(/not a regular file/);
    writePrivate(join(home, 'file'), new Uint8Array(101));
    expect(statSync(join(home, 'file')).mode & 0o777).toBe(0o600);
    expect(() => readBounded(join(home, 'file'), 100)).toThrow(/more than 100 bytes/);
  });
});
