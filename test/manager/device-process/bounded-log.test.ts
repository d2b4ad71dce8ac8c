import { existsSync, readFileSync, statSync } from 'node:fs';
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

  it('keeps the last lines in memory', () => {
    const log = new BoundedLog(join(folder(), 'log'));
    log.write(Buffer.alloc(10_000, 'x'));
    log.write(Buffer.from('\nthe reason\n'));
    expect(log.tail.endsWith('\nthe reason')).toBe(true);
    expect(log.tail.length).toBeLessThanOrEqual(4096);
  });

  it('does without a disk that takes nothing', () => {
    const path = join(folder(), 'missing', 'log');
    const log = new BoundedLog(path);
    log.write(Buffer.from('text'));
    expect(log.tail).toBe('text');
    expect(existsSync(path)).toBe(false);
  });
});
