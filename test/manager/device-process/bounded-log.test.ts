import { closeSync, existsSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BoundedLog } from '../../../manager/device-process/bounded-log.js';
import { temporaryFolders } from '../temporary-folder.js';

describe('BoundedLog', () => {
  const folder = temporaryFolders();

  it('never takes more than twice its limit on disk', () => {
    const path = join(folder(), 'log');
    const log = new BoundedLog(path, 100);
    for (let i = 0; i < 50; i++) log.write(Buffer.from(`line ${i}\n`));
    log.write(Buffer.alloc(1000, 'x'));
    expect(statSync(path).size).toBeLessThanOrEqual(100);
    expect(statSync(`${path}.old`).size).toBeLessThanOrEqual(100);
  });

  it('goes on with the file that an earlier process left', () => {
    const path = join(folder(), 'log');
    new BoundedLog(path, 100).write(Buffer.from('one\n'));
    new BoundedLog(path, 100).write(Buffer.from('two\n'));
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n');
  });

  it('leaves room for what goes to the same file by another way', () => {
    const path = join(folder(), 'log');
    const stderr = openSync(path, 'a');
    const log = new BoundedLog(path, 100);
    for (let i = 0; i < 20; i++) {
      writeSync(stderr, `node ${i}\n`);
      log.write(Buffer.from(`line ${i}\n`));
    }
    closeSync(stderr);
    expect(statSync(path).size).toBeLessThanOrEqual(100);
    expect(readFileSync(path, 'utf8')).toMatch(/node 19\nline 19\n$/);
  });

  it('does without a disk that takes nothing', () => {
    const path = join(folder(), 'missing', 'log');
    const log = new BoundedLog(path);
    log.write(Buffer.from('text'));
    expect(existsSync(path)).toBe(false);
  });
});
