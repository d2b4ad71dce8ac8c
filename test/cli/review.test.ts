import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { changeText, pathText } from '../../cli/support/changes-text.js';
import type { Chassis, Mount } from '../../manager/control/api.js';
import { temporaryFolders } from '../manager/temporary-folder.js';
import { TestDaemon } from '../support/daemon.js';

describe('reviewing changes on the command line', () => {
  const folder = temporaryFolders();
  let daemon: TestDaemon;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    await daemon.json('create', 'dev');
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
  });

  it('lists, commits and discards them, while they are mounted and after', async () => {
    const source = join(folder(), 'work');
    mkdirSync(source);
    writeFileSync(join(source, 'main.c'), 'old');
    const { mounts } = await daemon.json<{ mounts: Mount[] }>('attach', source, '--overlay');
    const { overlay } = mounts[0];
    const upper = overlay && 'path' in overlay ? overlay.path : '';
    expect(await daemon.cli('diff', 'work', '--exit-code')).toMatchObject({ exitCode: 0, stdout: '' });
    // As a guest would.
    for (const name of ['main.c', 'added', 'other']) writeFileSync(join(upper, name), 'new');
    expect((await daemon.cli('diff', 'work', '--exit-code')).exitCode).toBe(1);
    expect(await daemon.cli('diff', 'work')).toMatchObject({
      exitCode: 0,
      stdout: 'A  /added\nM  /main.c\nA  /other',
    });
    expect(await daemon.failure('commit', 'work', 'mian.c')).toMatchObject({
      code: 'NO_CHANGE',
      exitCode: 4,
    });
    const { stdout } = await daemon.cli('commit', 'work', 'main.c');
    expect(stdout).toBe('M  /main.c\n1 change committed');
    expect(readFileSync(join(source, 'main.c'), 'utf8')).toBe('new');
    expect((await daemon.cli('detach', 'work')).stdout).toMatch(
      /^work is detached\n {2}changes of .*work are kept for work: chassis diff work/,
    );
    expect((await daemon.json<Chassis>('show')).kept).toMatchObject([{ tag: 'work', source }]);
    expect(await daemon.json('discard', 'work', '/added')).toMatchObject({
      changes: [{ kind: 'added', path: '/added', type: 'file' }],
    });
    expect((await daemon.cli('discard', 'work')).stdout).toBe('A  /other\n1 change discarded');
    expect(existsSync(upper)).toBe(false);
    expect(await daemon.failure('diff', 'work')).toMatchObject({ code: 'NO_MOUNT', exitCode: 4 });
  });
});

describe('changes as people see them', () => {
  it('have a letter, the old name of what was renamed, and a slash behind directories', () => {
    expect(changeText({ kind: 'renamed', path: '/new', from: '/old', type: 'directory' })).toBe(
      'R  /old/ -> /new/',
    );
    expect(changeText({ kind: 'metadata', path: '/', type: 'directory' })).toBe('m  /');
    expect(changeText({ kind: 'removed', path: '/a b', type: 'link' })).toBe('D  /a b');
  });

  it('cannot move the cursor of a terminal, or turn round the order of letters', () => {
    expect(pathText('/größer')).toBe('/größer');
    expect(pathText('/a\x1b[2J\n')).toBe('"/a\\u001b[2J\\n"');
    expect(pathText('/a\u202eexe.txt')).toBe('"/a\\u202eexe.txt"');
    expect(pathText('/a\x9b2J')).toBe('"/a\\u009b2J"');
  });
});
